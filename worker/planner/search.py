"""Searches for records by the values of a field, what they find, and what that says of a reference.

They are apart from what makes them, which needs a library that clients of the HTTP interface do not have.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

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

    @property
    def size(self) -> int:
        """The number of relations that the action is about: none."""
        return 0


class FoundRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that a search found: its id, and the values of the fields that were asked for, as texts.

    A field has several values where the record has several entries (e-mails, phones), none where it is empty.
    """

    id: int
    values: Mapping[str, tuple[str, ...]]


class Answer(NamedTuple):
    """What a look-up says of a reference: the one record that it names, or 0 and the `candidates`.

    Candidates are several that are as asked, or some that are nearly so. `refusal` is why the API did not
    look: code, error class and text.
    """

    record: int = 0
    candidates: tuple[int, ...] = ()
    is_ambiguous: bool = False
    refusal: tuple[int, str, str] | None = None
