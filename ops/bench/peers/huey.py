"""huey: one task and one signed call per change; a task is taken off the queue before it runs."""

import os

from huey import RedisHuey

from ops.bench.peers import call

huey = RedisHuey("peer", url=os.environ["PEER_REDIS"], results=False)


@huey.task(retries=8, retry_delay=1)
def apply(change: call.ChangeDict) -> None:
    """One call for one change."""
    call.apply(change)


@huey.task()
def nothing(change: call.ChangeDict) -> None:
    """Do nothing."""


def enqueue(job: str, changes: list[call.ChangeDict]) -> None:
    """Send one task per change."""
    task = apply if job == "apply" else nothing
    for change in changes:
        task(change)
