"""How fast changes are accepted: straight to the store, over HTTP from 32 connections, and from Python beside
one Celery `.delay()` per change.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import Celery

from ops.bench.http import make_requests, send_all
from ops.bench.workloads import chunks, links
from ops.dev.stack import Stack
from producers.portals import Relations
from worker.contract import to_message
from worker.wiring import Runtime

BATCHES: Final = (100, 500, 1000)


def direct(runtime: Runtime, account: str, *, seconds: float) -> dict[str, float]:
    """Measure changes per second into the store, by size of batch."""
    return {str(size): _direct(runtime, account, size, seconds) for size in (1, *BATCHES)}


def over_http(stack: Stack, account: str, *, seconds: float) -> float:
    """Measure changes per second, one per request, from many connections at once."""
    return asyncio.run(send_all(stack.url, make_requests(account, stack.key), seconds)).rate


def _direct(runtime: Runtime, account: str, size: int, seconds: float) -> float:
    intake, ready = (
        runtime.intake(),
        list(chunks(links(max(20_000, size * 20), account=account, seed=size), size)),
    )
    return _rate(lambda at: intake.accept(ready[at % len(ready)]), size, seconds)


def _rate(call: Callable[[int], object], size: int, seconds: float) -> float:
    started, done = time.monotonic(), 0
    while (spent := time.monotonic() - started) < seconds:
        call(done)
        done += 1
    return done * size / spent


TURNS: Final = 3  # the best of them counts, for both
CHANGES: Final = 20_000
TASKS: Final = 1500


def intake(stack: Stack, account: str) -> dict[str, float]:
    """Measure changes per second: a list given to `Relations.connect(…).send`, and one task for each.

    Each turn begins with an empty server: a store that holds a hundred thousand jobs takes half as long again
    for each, for want of cache.
    """
    messages: list[Any] = [to_message(change) for change in links(CHANGES, account=account, seed=11)]
    runtime, rates = stack.runtime(wakes=False), list[tuple[float, float]]()
    with Relations.connect(runtime) as relations, stack.celery() as app:
        task = _task(app)
        delay = lambda part: [task.delay(each) for each in part]  # noqa: E731
        for _ in range(TURNS):
            runtime.client.flushall()
            rates.append((_send_rate(relations.send, messages), _send_rate(delay, messages[:TASKS])))
    ours, theirs = (max(column) for column in zip(*rates, strict=True))
    return {"send": ours, "delay": theirs, "ratio": ours / theirs}


def _task(app: Celery) -> Any:
    """Return a task that nobody runs, because only sending is measured."""

    def take(change: Any) -> None:
        """Never run."""

    app.conf.task_default_queue = "bench.delay"
    return app.task(name="bench.delay")(take)


def _send_rate(send: Callable[[Sequence[Any]], object], messages: Sequence[Any]) -> float:
    started = time.perf_counter()
    send(messages)
    return len(messages) / (time.perf_counter() - started)
