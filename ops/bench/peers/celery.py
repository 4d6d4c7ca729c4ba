"""Celery: one task and one signed call per change, acknowledged late."""

import os

from celery import Celery

from ops.bench.peers import call

app = Celery("peer", broker=os.environ["PEER_REDIS"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    broker_transport_options={  # what a killed worker held is given back after an hour, the default
        "visibility_timeout": int(os.environ.get("PEER_VISIBILITY", "3600")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 5,
    },
)


@app.task(autoretry_for=(Exception,), retry_backoff=1, retry_backoff_max=5, max_retries=8)
def apply(change: call.ChangeDict) -> None:
    """One call for one change."""
    call.apply(change)


@app.task
def nothing(change: call.ChangeDict) -> None:
    """Do nothing."""


def enqueue(job: str, changes: list[call.ChangeDict]) -> None:
    """Send one task per change."""
    task = apply if job == "apply" else nothing
    for change in changes:
        task.delay(change)
