"""The simulator's log: the last requests in full, and counters over all of them."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple

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


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since the start or the last reset. `actions` and `codes` count executed actions only."""

    requests: int
    executed: int
    landed: int
    tokens: dict[str, int]
    actions: dict[str, int]
    codes: dict[int, int]
    faults: dict[str, int]


class Log:
    """A bounded list of entries with unbounded counters."""

    def __init__(self, size: int) -> None:
        self.entries: deque[LogEntry] = deque(maxlen=size)
        self._plain: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._actions: Counter[str] = Counter()
        self._codes: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()

    def add(self, entry: LogEntry) -> None:
        """Keep and count it."""
        self.entries.append(entry)
        self._plain["landed" if entry.landed else "requests"] += 1
        if not entry.landed:
            self._tokens[entry.token] += 1
            self._faults[entry.fault] += 1
        if entry.executed:
            self._plain["executed"] += 1
            self._actions.update(act.kind for act in entry.acts)
            self._codes.update(act.code for act in entry.acts if act.code is not None)

    def totals(self) -> Totals:
        """Return the counters as they are now."""
        plain = self._plain
        faults = {kind: count for kind, count in self._faults.items() if kind}
        return Totals(
            plain["requests"],
            plain["executed"],
            plain["landed"],
            dict(self._tokens),
            dict(self._actions),
            dict(self._codes),
            faults,
        )
