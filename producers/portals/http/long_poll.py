"""Waiting for jobs to end: whoever waits shares one look at the store per tick. Knows no HTTP.

How to look, how that is run beside the event loop, and whether the server is leaving are handed in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.errors import Unavailable
from worker.ports import OPEN_STATES, JobState

TICK: Final = 0.1  # seconds between looks
MOST: Final = 10_000  # jobs that are looked at in one tick; who would bring more does not wait

States = Mapping[str, JobState]
Run = Callable[[Callable[[], States]], Awaitable[States]]


@dataclass(eq=False, slots=True)
class Waiter:
    """Jobs that are still open, the states of those that ended, and who is told when none is open."""

    open: set[str]
    told: asyncio.Future[States | None]
    ended: dict[str, JobState] = field(default_factory=dict)

    def see(self, states: States) -> None:
        """Take in what was seen of some jobs."""
        self.ended |= {
            job: states[job] for job in self.open & states.keys() if states[job] not in OPEN_STATES
        }
        self.open -= self.ended.keys()
        if not self.open:
            self.tell(self.ended)

    def tell(self, states: States | None) -> None:
        """Wake who waits, unless they have gone."""
        if not self.told.done():
            self.told.set_result(states)


class Waiting:
    """One look for all; it ends when nobody waits."""

    def __init__(
        self,
        look: Callable[[Sequence[str]], States],
        *,
        run: Run,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self._look, self._run, self._leaving = look, run, leaving
        self._waiters: set[Waiter] = set()
        self._task: asyncio.Task[None] | None = None

    async def ended(self, jobs: Collection[str], seconds: float) -> States | None:
        """The states in which these jobs ended; None when one had not in time, too many are waited for, or the server is leaving."""
        if len(jobs) + sum(len(waiter.open) for waiter in self._waiters) > MOST:
            return None
        waiter = Waiter(set(jobs), asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(seconds):
                return await waiter.told
        except TimeoutError:
            return None
        finally:
            self._waiters.discard(waiter)

    async def _watch(self) -> None:
        while self._waiters and not self._leaving():
            states = await self._seen(sorted(set[str]().union(*(waiter.open for waiter in self._waiters))))
            for waiter in self._waiters:
                waiter.see(states)
            await asyncio.sleep(TICK)
        for waiter in self._waiters:
            waiter.tell(None)

    async def _seen(self, jobs: Sequence[str]) -> States:
        try:
            return await self._run(lambda: self._look(jobs))
        except Unavailable:  # the jobs are accepted, and Redis may be back in time
            return {}
