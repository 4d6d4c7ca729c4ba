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


class Signs(NamedTuple):
    """A few numbers, read at one moment, that show most contradictions of an account nobody works."""

    listed: int
    dead: int
    held: int
    opened: int
    due: int
    is_claimed: bool
    is_begun: bool
    open_jobs: int
    open_states: int
    unresolved: int = 0

    @property
    def is_contradiction(self) -> bool:
        """Whether they cannot all be true."""
        is_idle = self.listed == self.dead and not (
            self.opened or self.is_claimed or self.is_begun or self.unresolved
        )
        return (
            self.opened != self.due
            or not 0 <= self.dead <= self.listed
            or (self.held != 0 and not self.is_claimed)
            or self.held < 0
            or (is_idle and (self.open_jobs != 0 or self.open_states != 0))
        )


def flaw(kind: str, subject: object, message: str, *writes: Write) -> Flaw:
    """Return a flaw."""
    return Flaw(StoreFlaw(kind, str(subject), message), writes)
