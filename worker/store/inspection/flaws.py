"""A contradiction in what is stored, the writes that end it, and the numbers it is held against. Pure."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from worker.ports.integrity import StoreFlaw
from worker.store.jobs.stored_job import FAILED, SUCCEEDED, SUPERSEDED

ENDED: Final = (SUCCEEDED, SUPERSEDED, FAILED)
LOST: Final = "lost"
"""The counter of accepted changes that the store has lost: they have neither a state nor an outcome."""

Write = tuple[object, ...]
"""A command of a commit: its name, its key as in `keys.py`, its arguments."""


class Flaw(NamedTuple):
    """A contradiction, and the writes that end it."""

    what: StoreFlaw
    writes: tuple[Write, ...] = ()


class StoredNumbers(NamedTuple):
    """What is read at one moment, before all else: the numbers that the rest is held against."""

    accepted: int
    dead: int
    held: int
    events: int
    counts: Mapping[str, int]
    buckets: Mapping[int, int]
    claimed: tuple[str, ...]


def flaw(kind: str, subject: object, message: str, *writes: Write) -> Flaw:
    """Return a flaw."""
    return Flaw(StoreFlaw(kind, str(subject), message), writes)
