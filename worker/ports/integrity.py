"""What an inspection of an account's stored data finds, and mends."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

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
