"""Looking records up by what others know of them: searches out, the records they find back."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from worker.contract import Module

MAX_VALUES: Final = 500  # of one search, and records of one answer: the API's `listlimit`


class Search(msgspec.Struct, frozen=True, gc=False):
    """One action of the API: which records of a module have one of these values in a field.

    `data` are the fields to answer with, that field among them; `offset` is how many records to skip.
    """

    module: Module
    field: str
    values: tuple[str, ...]
    data: tuple[str, ...]
    offset: int = 0

    @property
    def kind(self) -> Literal["read"]:
        """The kind of the action."""
        return "read"


class FoundRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that a search found: its id, and the values of the fields that were asked for, as texts.

    A field has several values where the record has several entries (e-mails, phones), none where it is empty.
    """

    id: int
    values: Mapping[str, tuple[str, ...]]
