"""taskiq: one message and one signed call per change on an event loop, over Redis streams, acknowledged."""

import os

from taskiq import SmartRetryMiddleware
from taskiq_redis import RedisStreamBroker

from ops.bench.peers import call

broker = RedisStreamBroker(
    os.environ["PEER_REDIS"],
    idle_timeout=10_000,  # the default gives back what a killed worker held after ten minutes
    unacknowledged_lock_timeout=5.0,
    consumer_id="0",
).with_middlewares(SmartRetryMiddleware(default_retry_count=8, default_delay=1))


@broker.task(retry_on_error=True)
async def apply(change: call.ChangeDict) -> None:
    """One call for one change."""
    await call.apply_async(change)


@broker.task
async def nothing(change: call.ChangeDict) -> None:
    """Do nothing."""


async def enqueue(job: str, changes: list[call.ChangeDict]) -> None:
    """Send one message per change, one after the other, so that they keep their order."""
    task = apply if job == "apply" else nothing
    for change in changes:
        await task.kiq(change)
