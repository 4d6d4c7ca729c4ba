"""Restart parts that ended by themselves, as `docker compose` does where the system is deployed.

For `relations dev` and the torture tests.

A simulator whose CRMs are not kept is left alone: what it held is gone with it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ops.dev.processes import tail
from worker.errors import RelationsError

FIRST_DELAY, LONGEST_DELAY = 0.25, 5.0  # seconds until a part is restarted
UP_AFTER: Final = 10.0  # seconds of running after which a part counts as up
LONGEST_LINE: Final = 200  # characters of a log line that are shown
ENDS_TO_GIVE_UP: Final = 5  # in a row, without being up in between


class Parts(Protocol):
    """What a supervisor needs of the parts; `ops.dev.stack.Stack` has it."""

    def ended(self) -> list[str]:
        """Return the parts that are not running any more."""

    def can_replace(self, part: str) -> bool:
        """Return whether the part goes on where it ended."""

    def replace(self, part: str) -> None:
        """Kill the part, if it still runs, and start it again."""

    def log(self, name: str) -> Path:
        """Return the path of the part's log."""


class GivenUp(RelationsError):
    """A part that cannot be started again, or ended too often; the message carries the end of its log."""


@dataclass(slots=True)
class RestartState:
    """When a part was started last, how often in a row it ended since it was up, and when it is restarted."""

    since: float
    ends: int = 0
    due: float | None = None

    def note_end(self, now: float) -> float:
        """Note that the part ended; return the seconds until it is restarted."""
        self.ends = 1 if now - self.since >= UP_AFTER else self.ends + 1
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (self.ends - 1))
        self.due = now + delay
        return delay


class Supervisor:
    """Restarts parts whenever `tend` is called; `ends` counts by part how often each ended by itself."""

    def __init__(
        self, parts: Parts, *, echo: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.parts, self.echo, self.clock = parts, echo, clock
        self.ends: dict[str, int] = {}
        self._started = clock()
        self._states: dict[str, RestartState] = {}

    def tend(self) -> None:
        """Notice which parts ended and restart those that are due; raise `GivenUp` where that is no use."""
        for name in self.parts.ended():
            self._tend(name, self._states.setdefault(name, RestartState(self._started)), self.clock())

    def _tend(self, name: str, state: RestartState, now: float) -> None:
        if state.due is None:
            delay = state.note_end(now)
            self.ends[name] = self.ends.get(name, 0) + 1
            if not self.parts.can_replace(name) or state.ends >= ENDS_TO_GIVE_UP:
                raise GivenUp(
                    f"{name} ended; the end of {self.parts.log(name)}:\n{tail(self.parts.log(name))}"
                )
            line = tail(self.parts.log(name), 1)[:LONGEST_LINE]
            self.echo(f"{name} ended, the last line of its log: {line}; starting it again in {delay:g} s")
        elif now >= state.due:
            self.parts.replace(name)
            state.since, state.due = now, None
