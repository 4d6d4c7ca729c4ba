"""Waiting for jobs to end: all who wait share one query of the store per tick. Knows no HTTP.

How states are read, how that is run beside the event loop, and whether the server is stopping are passed in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.errors import Unavailable
from worker.ports import OPEN_STATES, JobState

TICK: Final = 0.1  # seconds between queries
MAX_JOBS: Final = 10_000  # that one query asks about; a client that would add more does not wait

States = Mapping[str, JobState]
Run = Callable[[Callable[[], States]], Awaitable[States]]


@dataclass(eq=False, slots=True)
class PendingWait:
    """The jobs of one client: which are open, how the others ended, and the future that the client awaits."""

    open: set[str]
    future: asyncio.Future[States | None]
    ended: dict[str, JobState] = field(default_factory=dict)

    def update(self, states: States) -> None:
        """Note which jobs ended, and wake the client when all have."""
        self.ended |= {
            job: states[job] for job in self.open & states.keys() if states[job] not in OPEN_STATES
        }
        self.open -= self.ended.keys()
        if not self.open:
            self.resolve(self.ended)

    def resolve(self, states: States | None) -> None:
        """Wake the client, unless it has gone."""
        if not self.future.done():
            self.future.set_result(states)


class JobPoller:
    """One polling loop for all clients; it ends when nobody waits."""

    def __init__(
        self,
        get_states: Callable[[Sequence[str]], States],
        *,
        run: Run,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._get_states, self._run, self._is_stopping = get_states, run, is_stopping
        self._waits: set[PendingWait] = set()
        self._task: asyncio.Task[None] | None = None

    async def wait_until_ended(self, jobs: Collection[str], seconds: float) -> States | None:
        """Return the states in which these jobs ended.

        None if one did not end in time, too many are waited for, or the server is stopping.
        """
        if len(jobs) + sum(len(wait.open) for wait in self._waits) > MAX_JOBS:
            return None
        wait = PendingWait(set(jobs), asyncio.get_running_loop().create_future())
        self._waits.add(wait)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            async with asyncio.timeout(seconds):
                return await wait.future
        except TimeoutError:
            return None
        finally:
            self._waits.discard(wait)

    async def _poll(self) -> None:
        while self._waits and not self._is_stopping():
            states = await self._query(sorted(set[str]().union(*(wait.open for wait in self._waits))))
            for wait in self._waits:
                wait.update(states)
            await asyncio.sleep(TICK)
        for wait in self._waits:
            wait.resolve(None)

    async def _query(self, jobs: Sequence[str]) -> States:
        try:
            return await self._run(lambda: self._get_states(jobs))
        except Unavailable:  # the jobs are accepted, and Redis may be back in time
            return {}
