"""Starts again what ended by itself, as `docker compose` does where the system is deployed: for `relations dev` and for torture.

The simulator is left alone: the CRM it held is gone with it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ops.dev.processes import tail
from worker.errors import RelationsError

FIRST, LONGEST = 0.25, 5.0  # seconds until a part is started again
STEADY: Final = 10.0  # seconds after which a part that ended had been up
LINE: Final = 200  # characters
ENOUGH: Final = 5  # ends in a row, none of them after being up


class Parts(Protocol):
    """What is looked after; `ops.dev.stack.Stack` is meant."""

    def ended(self) -> list[str]:
        """The parts that are not running any more."""

    def replace(self, part: str) -> None:
        """Start it again."""

    def log(self, name: str) -> Path:
        """Where it writes its log."""


class GivenUp(RelationsError):
    """A part that cannot be started again, or ended too often; the message carries the end of its log."""


@dataclass(slots=True)
class Care:
    """What is known of a part: when it was started last, its ends in a row since it was last up, and when it is started again."""

    since: float
    ends: int = 0
    due: float | None = None

    def ended(self, now: float) -> float:
        """Note an end; the seconds until the next start."""
        self.ends = 1 if now - self.since >= STEADY else self.ends + 1
        delay = min(LONGEST, FIRST * 2.0 ** (self.ends - 1))
        self.due = now + delay
        return delay


class Supervisor:
    """Looks after the parts whenever `tend` is called; `ends` counts what ended by itself, by part."""

    def __init__(
        self, parts: Parts, *, echo: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.parts, self.echo, self.clock = parts, echo, clock
        self.ends: dict[str, int] = {}
        self._born = clock()
        self._cared: dict[str, Care] = {}

    def tend(self) -> None:
        """Notice what ended and start what is due; `GivenUp` if there is no use in it."""
        for name in self.parts.ended():
            self._tend(name, self._cared.setdefault(name, Care(self._born)), self.clock())

    def _tend(self, name: str, care: Care, now: float) -> None:
        if care.due is None:
            delay = care.ended(now)
            self.ends[name] = self.ends.get(name, 0) + 1
            if name == "simulator" or care.ends >= ENOUGH:
                raise GivenUp(
                    f"{name} ended; the end of {self.parts.log(name)}:\n{tail(self.parts.log(name))}"
                )
            self.echo(
                f"{name} ended, the last line of its log: {tail(self.parts.log(name), 1)[:LINE]}; starting it again in {delay:g} s"
            )
        elif now >= care.due:
            self.parts.replace(name)
            care.since, care.due = now, None
