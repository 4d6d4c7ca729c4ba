"""SAQ: one job and one signed call per change on an event loop."""

import os
from typing import Any

from saq import Queue

from ops.bench.peers import call

queue = Queue.from_url(os.environ["PEER_REDIS"], name="peer")


async def apply(_: dict[str, Any], *, change: call.ChangeDict) -> None:
    """One call for one change."""
    await call.apply_async(change)


async def nothing(_: dict[str, Any], *, change: call.ChangeDict) -> None:
    """Do nothing."""


settings = {
    "queue": queue,
    "functions": [apply, nothing],
    "concurrency": int(os.environ.get("PEER_CONCURRENCY", "64")),
    "timers": {"sweep": 5},  # the default looks for jobs of killed workers once a minute
}


async def enqueue(job: str, changes: list[call.ChangeDict]) -> None:
    """Send one job per change."""
    for change in changes:
        await queue.enqueue(job, change=change, timeout=10, retries=8, ttl=60)
