"""Waiting for jobs to end: all who wait share one query of the store per tick. Knows no HTTP.

How states are read, how that is run beside the event loop, and whether the server is stopping are passed in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from worker.errors import Unavailable
from worker.ports.records import OPEN_STATES, JobState

TICK: Final = 0.1  # seconds between queries
MAX_JOBS: Final = 10_000  # that one query asks about; a client that would add more does not wait

States = Mapping[str, JobState]
Run = Callable[[Callable[[], States]], Awaitable[States]]


class JobPoller:
    """Asks about the open jobs of all waiting clients at once; asks nothing while nobody waits."""

    def __init__(
        self,
        get_states: Callable[[Sequence[str]], States],
        *,
        run: Run,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._get_states, self._run, self._is_stopping = get_states, run, is_stopping
        self._open: dict[object, set[str]] = {}  # the open jobs of each client that waits
        self._query: asyncio.Task[States] | None = None
        self._next_query_at = 0.0

    async def wait_until_ended(self, jobs: Collection[str], seconds: float) -> States | None:
        """Return the states in which these jobs ended.

        None if one did not end in time, too many are waited for, or the server is stopping.
        """
        if len(jobs) + sum(map(len, self._open.values())) > MAX_JOBS:
            return None
        client = object()
        self._open[client] = set(jobs)
        try:
            async with asyncio.timeout(seconds):
                return await self._poll(self._open[client])
        except TimeoutError:
            return None
        finally:
            del self._open[client]

    async def _poll(self, jobs: set[str]) -> States | None:
        """Take out of `jobs` those that have ended, until none is left; return their states, or None."""
        ended = dict[str, JobState]()
        while jobs:
            states = await self._next_states()
            if self._is_stopping():
                return None
            ended |= _ended(jobs, states)
            jobs.difference_update(ended)
        return ended

    async def _next_states(self) -> States:
        """Return the result of the query that runs or comes next, which others may be waiting for too."""
        if self._query is None or self._query.done():
            self._query = asyncio.create_task(self._query_states())
        return await asyncio.shield(self._query)  # a client that leaves takes it from nobody

    async def _query_states(self) -> States:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._next_query_at - loop.time())
        self._next_query_at = loop.time() + TICK
        jobs = sorted(set[str]().union(*self._open.values()))
        if not jobs or self._is_stopping():
            return {}
        try:
            return await self._run(lambda: self._get_states(jobs))
        except Unavailable:  # the jobs are accepted, and Redis may be back in time
            return {}


def _ended(jobs: Collection[str], states: States) -> dict[str, JobState]:
    return {job: states[job] for job in jobs if job in states and states[job] not in OPEN_STATES}
