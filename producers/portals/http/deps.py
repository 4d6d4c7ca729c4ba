"""The dependencies of the handlers for portals as one value, built from a runtime here and nowhere else.

Threads beside the event loop are so shared out that nobody's questions keep changes from being accepted.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Semaphore
from typing import Any, Final, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool

from producers.portals.http.body import HeldBodies
from producers.portals.http.group_commit import CommitGroup
from producers.portals.http.long_poll import JobPoller
from producers.portals.http.refusals import DeliveryLog, RefusalLog
from producers.webhooks.mapping import check_rules
from worker.config import Source
from worker.errors import NotFound, StoreUnavailable
from worker.usecases.health import Trouble
from worker.usecases.intake import Intake
from worker.wiring import Runtime

INTAKE_THREADS: Final = 16
OTHER_THREADS: Final = 32
THREADS_PER_KEY: Final = 4
WEBHOOK_THREADS: Final = 16
MAPPING_THREADS: Final = 2  # of these that map at a time; more would only take the event loop's time
PROBE_SECONDS: Final = 2.0  # that a health check waits for Redis
PATIENCE_SECONDS: Final = 2.0  # that a reader waits for its answer before Redis is asked whether it is there
HEALTH_REST: Final = 0.005  # seconds per account for which health checks keep what they have read of all

Params = ParamSpec("Params")
Result = TypeVar("Result")


class Threads:
    """The threads of one application: some for intake and webhooks alone, and a few others for each key.

    `ask_redis` asks Redis something that is answered at once, while a reader waits long for its own answer.
    """

    def __init__(self, ask_redis: Callable[[], Any]) -> None:
        self._probe = RedisProbe(ask_redis)
        self._others = CapacityLimiter(OTHER_THREADS)
        self.run_intake = partial(to_thread.run_sync, limiter=CapacityLimiter(INTAKE_THREADS))
        self._webhooks, self.mapping = CapacityLimiter(WEBHOOK_THREADS), Semaphore(MAPPING_THREADS)
        self._keys: dict[str, CapacityLimiter] = {}  # by name; there are as many as in the settings

    async def run_webhook(self, function: Callable[[], Result]) -> Result:
        """Run what takes a webhook, and holds `mapping` while it maps: a slow one stops nobody else."""
        return await to_thread.run_sync(function, limiter=self._webhooks)

    async def run_for(
        self, key: str, function: Callable[Params, Result], *args: Params.args, **options: Params.kwargs
    ) -> Result:
        """Run what the key of this name asks for or does, a few at a time."""
        async with self._keys.setdefault(key, CapacityLimiter(THREADS_PER_KEY)):
            return await to_thread.run_sync(partial(function, *args, **options), limiter=self._others)

    async def read_for(
        self, key: str, function: Callable[Params, Result], *args: Params.args, **options: Params.kwargs
    ) -> Result:
        """Run what only reads for this key; raise StoreUnavailable soon after Redis hangs.

        A thread that has begun is left to wait as long as a command may take, which changes nothing. What has
        not begun by then never does, or it would pile up for as long as Redis hangs.
        """
        begun: list[bool] = []

        def begin() -> Result:
            begun.append(True)
            return function(*args, **options)

        work = asyncio.ensure_future(self.run_for(key, begin))
        work.add_done_callback(lambda done: done.cancelled() or done.exception())  # known, if nobody waits
        try:
            while not (await asyncio.wait({work}, timeout=PATIENCE_SECONDS))[0]:
                await self._probe.check()
        finally:
            if not begun:
                work.cancel()
        return work.result()


class RedisProbe:
    """Asks Redis one question at a time: health checks must not pile up while it hangs."""

    def __init__(self, ask: Callable[[], Any], *, seconds: float = PROBE_SECONDS) -> None:
        self._ask, self._seconds = ask, seconds
        self._question: asyncio.Task[Any] | None = None

    async def check(self) -> Any:
        """Return what Redis answered; raise StoreUnavailable if it does not do so in time."""
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(run_in_threadpool(self._ask))
        await asyncio.wait({self._question}, timeout=self._seconds)
        if not self._question.done():
            raise StoreUnavailable(f"Redis did not answer within {self._seconds:g} seconds")
        return self._question.result()


class RareQuestion:
    """Asks what is costly to answer, and keeps the answer for `rest()` seconds."""

    def __init__(
        self,
        ask: Callable[[], Any],
        *,
        rest: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._rest, self._clock = ask, rest, clock
        self._answer: Any = None
        self._next_at = -math.inf

    def __call__(self) -> Any:
        """Return the answer."""
        if self._clock() >= self._next_at:
            self._answer = self._ask()
            self._next_at = self._clock() + self._rest()
        return self._answer


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDeps:
    """A runtime, and what the handlers share beside it."""

    runtime: Runtime
    intake: Intake
    commit_group: CommitGroup
    job_poller: JobPoller
    redis_probe: RedisProbe  # which finds what is wrong
    threads: Threads
    refusals: RefusalLog
    deliveries: DeliveryLog
    held_bodies: HeldBodies

    def source(self, name: str) -> Source:
        """Return the webhook source of this name; raise NotFound."""
        sources = self.runtime.live_settings.refresh().sources
        if name not in sources:
            raise NotFound("there is no webhook source of that name")
        return sources[name]


def http_deps(runtime: Runtime, *, is_stopping: Callable[[], bool]) -> HttpDeps:
    """Build the dependencies from a runtime; raise InvalidSettings for rules that cannot be used."""
    check_rules(runtime.live_settings.refresh())
    runtime.live_settings.check_rules = check_rules
    intake, threads = runtime.intake(), Threads(runtime.metrics.now)
    read_health = RareQuestion(
        partial(runtime.read_health, takes_changes=True),  # else its trouble is that of the check before it
        rest=lambda: HEALTH_REST * len(runtime.settings.accounts),
    )

    def find_troubles() -> list[Trouble]:
        runtime.check_writable()  # each time, which shows that changes are accepted
        return runtime.find_troubles(read_health())

    return HttpDeps(
        runtime=runtime,
        intake=intake,
        commit_group=CommitGroup(intake.accept, run=threads.run_intake),
        job_poller=JobPoller(runtime.queries.get_states, run=threads.run_intake, is_stopping=is_stopping),
        redis_probe=RedisProbe(find_troubles),
        threads=threads,
        refusals=RefusalLog(runtime),
        deliveries=DeliveryLog(runtime),
        held_bodies=HeldBodies(),
    )
