"""dramatiq: one message and one signed call per change, in processes of many threads."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from ops.bench.peers import call

# By default a killed worker's messages come back after a minute, and its brother looks for them rarely.
broker = RedisBroker(url=os.environ["PEER_REDIS"], heartbeat_timeout=10_000, maintenance_chance=100_000)
dramatiq.set_broker(broker)


@dramatiq.actor(max_retries=8, min_backoff=1_000, max_backoff=5_000)
def apply(change: call.ChangeDict) -> None:
    """One call for one change."""
    call.apply(change)


@dramatiq.actor
def nothing(change: call.ChangeDict) -> None:
    """Do nothing."""


def enqueue(job: str, changes: list[call.ChangeDict]) -> None:
    """Send one message per change."""
    actor = apply if job == "apply" else nothing
    for change in changes:
        actor.send(change)
