"""How fast changes are accepted: straight to the store, singly and in batches, and singly over HTTP from 32
connections.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from ops.bench.http_client import make_requests, send_all
from ops.bench.load import chunks, links
from ops.dev.stack import Stack
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
