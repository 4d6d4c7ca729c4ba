"""The simulator's log: the last requests in full, and counters over all of them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ops.simulator.api import ActionEntry


class LogEntry(NamedTuple):
    """One request as it was handled, or (`landed`) a late one reaching the CRM after all.

    `number` counts from 0; a landing repeats the number of its request. `executed`: the actions reached the
    CRM, each with its own code. `fault` is the kind of fault, or "".
    """

    number: int
    at: float
    token: str
    acts: tuple[ActionEntry, ...]
    fault: str
    executed: bool
    landed: bool = False


@dataclass(slots=True)
class Totals:
    """Counts since the start or the last reset. `actions` and `codes` count executed actions only."""

    requests: int = 0
    executed: int = 0
    landed: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    actions: dict[str, int] = field(default_factory=dict)
    codes: dict[int, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)


class Log:
    """A bounded list of entries, and the counts of all there were."""

    def __init__(self, size: int) -> None:
        self.entries: deque[LogEntry] = deque(maxlen=size)
        self.totals = Totals()

    def add(self, entry: LogEntry) -> None:
        """Keep an entry, and count it."""
        self.entries.append(entry)
        totals = self.totals
        totals.landed += entry.landed
        totals.requests += not entry.landed
        totals.executed += entry.executed
        if not entry.landed:
            _count(totals.tokens, [entry.token])
            _count(totals.faults, filter(None, [entry.fault]))
        if entry.executed:
            _count(totals.actions, (act.kind for act in entry.acts))
            _count(totals.codes, (act.code for act in entry.acts if act.code is not None))


def _count(counts: dict[Any, int], found: Iterable[Any]) -> None:
    for each in found:
        counts[each] = counts.get(each, 0) + 1
