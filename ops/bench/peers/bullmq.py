"""BullMQ: one job and one signed call per change on an event loop; run as a module, it works."""

import asyncio
import os
from typing import Any

from bullmq import Queue, Worker

from ops.bench.peers import call

OPTIONS = {"attempts": 8, "backoff": {"type": "fixed", "delay": 1000}, "removeOnComplete": True}
_queues: list[Queue] = []


async def process(job: Any, _: str) -> None:
    """One call for one change, or nothing."""
    if job.name == "apply":
        await call.apply_async(job.data)


async def enqueue(job: str, changes: list[call.ChangeDict]) -> None:
    """Send one job per change, a hundred at a time."""
    if not _queues:
        _queues.append(Queue("peer", {"connection": os.environ["PEER_REDIS"]}))
    for at in range(0, len(changes), 100):
        jobs = [{"name": job, "data": change, "opts": OPTIONS} for change in changes[at : at + 100]]
        await _queues[0].addBulk(jobs)


async def work() -> None:
    """Work until the process ends."""
    options = {
        "connection": os.environ["PEER_REDIS"],
        "concurrency": int(os.environ.get("PEER_CONCURRENCY", "64")),
        "lockDuration": 10_000,  # the default gives back what a killed worker held after half a minute
        "stalledInterval": 5_000,
        "maxStalledCount": 8,
    }
    await Worker("peer", process, options).run()


if __name__ == "__main__":
    asyncio.run(work())
