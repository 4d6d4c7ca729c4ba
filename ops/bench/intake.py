"""Batch intake from Python beside one Celery `.delay()` per change, in turns in one run: the same messages,
the same server.

Each turn begins with an empty server: a store that holds a hundred thousand jobs takes half as long again for
each, for want of cache.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import Celery

from ops.bench.load import links
from ops.dev.stack import Stack
from producers.portals import Relations
from worker.contract import to_message

TURNS: Final = 3  # the best of them counts, for both
CHANGES: Final = 20_000
TASKS: Final = 1500


def intake(stack: Stack, account: str) -> dict[str, float]:
    """Measure changes per second: a list given to `Relations.connect(…).send`, and one task for each."""
    messages: list[Any] = [to_message(change) for change in links(CHANGES, account=account, seed=11)]
    runtime, rates = stack.runtime(wakes=False), list[tuple[float, float]]()
    with Relations.connect(runtime) as relations, stack.celery() as app:
        task = _task(app)
        delay = lambda part: [task.delay(each) for each in part]  # noqa: E731
        for _ in range(TURNS):
            runtime.client.flushall()
            rates.append((_rate(relations.send, messages), _rate(delay, messages[:TASKS])))
    ours, theirs = (max(column) for column in zip(*rates, strict=True))
    return {"send": ours, "delay": theirs, "ratio": ours / theirs}


def _task(app: Celery) -> Any:
    """Return a task that nobody runs, because only sending is measured."""

    def take(change: Any) -> None:
        """Never run."""

    app.conf.task_default_queue = "bench.delay"
    return app.task(name="bench.delay")(take)


def _rate(send: Callable[[Sequence[Any]], object], messages: Sequence[Any]) -> float:
    started = time.perf_counter()
    send(messages)
    return len(messages) / (time.perf_counter() - started)
