"""What an inspection of an account's stored data finds, and mends."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

MAX_NAMED: Final = 5  # flaws that one log event names

FlawProgress = Callable[[str, int], None]
"""Is told what is read now, and how many entries of it have been."""


class StoreFlaw(NamedTuple):
    """One contradiction in what is stored: of which kind, of what, and what is wrong.

    `kind` is a word of a bounded set, fit for a metric; `subject` a job, a relation or a key.
    """

    kind: str
    subject: str
    message: str


class Inspection(NamedTuple):
    """What an inspection read, what it found, and whether all of that was mended."""

    jobs: int = 0
    relations: int = 0
    flaws: tuple[StoreFlaw, ...] = ()
    mended: bool = False


def describe_flaws(flaws: Sequence[StoreFlaw]) -> Mapping[str, object]:
    """Return the fields of a log event: how many of each kind, and the first few."""
    first = [f"{flaw.subject} {flaw.message}" for flaw in flaws[:MAX_NAMED]]
    return {"kinds": dict(Counter(flaw.kind for flaw in flaws)), "first": first}


class StoreInspector(Protocol):
    """Checks all invariants of an account's stored data, and mends what contradicts itself."""

    def inspect(
        self, account: str, *, repair: bool = False, on_progress: FlawProgress = lambda _what, _count: None
    ) -> Inspection:
        """Check the account while nobody works it; raises Unavailable if a worker does not let go of it."""

    def has_signs(self, account: str) -> bool:
        """Return whether a few numbers of the account show a contradiction."""

    def mend(self, account: str) -> tuple[StoreFlaw, ...]:
        """Mend an account that shows signs of a contradiction, if it is small and nobody works it."""
