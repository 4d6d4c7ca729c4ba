"""The Celery application: configured once, here. Start it as `celery -A worker.app worker` and `… beat`.

A message is a wake-up and a unit of scheduling, never the only copy of a change; each setting below keeps that true.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import setup_logging, task_prerun, worker_ready, worker_shutdown
from kombu import Queue

from worker import log
from worker.background import WorkerHeartbeat
from worker.celery_patches import apply_patches
from worker.config import Settings, load_settings
from worker.errors import InvalidSettings
from worker.redis.broker import AMQP_SCHEMES, broker_settings
from worker.wiring import metrics_of

QUEUES = ("relations.intake", "relations.flush", "relations.ops")
SWEEP = 2.0  # seconds between sweeps


def configure(app: Celery, settings: Settings) -> None:
    """Set everything that reliability rests on."""
    longest = max((account.timeout for account in settings.accounts.values()), default=30.0)
    url, options = broker_settings(settings.broker_url)
    app.conf.update(
        broker_url=url,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # the default, 100, ends a worker after three quarters of an hour without its broker
        broker_transport_options=options | _transport(url, longest),
        task_queues=[Queue(name) for name in QUEUES],
        task_default_queue="relations.ops",
        task_routes={"relations.accept": "relations.intake", "relations.flush": "relations.flush"},
        # A flush is leased and idempotent: acknowledge late, so that a dead worker's message comes back.
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # true makes a poison message an endless loop
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=not url.startswith(
            AMQP_SCHEMES
        ),  # it keeps its own count of what it hands out
        task_ignore_result=True,  # the status store is ours
        task_serializer="json",
        accept_content=["json"],
        worker_soft_shutdown_timeout=longest + 10.0,
        # A blip of the broker must not stop a request. Measured with Redis killed every 2 s, 16 times each: all was done 4 s after
        # the last kill (true: 4 and 9 s), and no message of changes was lost (true: those of 21 changes).
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_consumer="worker.celery_patches:Receiver",
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_timer_precision=0.05,
        beat_schedule={
            "sweep": {"task": "relations.sweep", "schedule": SWEEP, "options": {"expires": 2 * SWEEP}}
        },
        beat_max_loop_interval=SWEEP,
    )


def _transport(url: str, longest: float) -> dict[str, Any]:
    if url.startswith(AMQP_SCHEMES):
        return {}
    return {
        # Longer than any flush, so that a slow one is not delivered twice; a lost one comes back within seconds of it.
        "visibility_timeout": 20.0 + longest + 30.0,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,
    }


def _settings() -> Settings:
    """The settings; without them there is nothing to start, and one message says all that is wrong."""
    try:
        return load_settings(os.environ, Path.cwd())
    except InvalidSettings as error:
        sys.stderr.write(
            "\n".join(["The settings cannot be used:", *(f"  {fault}" for fault in error.faults), ""])
        )
        sys.exit(2)


settings = _settings()
app = Celery("relations", include=["worker.tasks"])
app.Task.Request, app.Task.Strategy = "worker.celery_patches:TaskMessage", "worker.celery_patches:strategy"
apply_patches()
configure(app, settings)


@setup_logging.connect
def _log(**_: object) -> None:
    """Logging is ours; Celery's own lines go through the same pipeline."""
    log.configure(settings.log)


@task_prerun.connect
def _begin(task_id: str, **_: object) -> None:
    """Every line of a task names it."""
    log.set_context(task=task_id)


pulse = WorkerHeartbeat(partial(metrics_of, settings))


@worker_ready.connect
def _ready(sender: Any, **_: object) -> None:
    """Only now: whoever asks who works must not be told of a worker that came no further."""
    pulse.start(sender.controller.hostname, concurrency=sender.controller.concurrency)


@worker_shutdown.connect
def _over(**_: object) -> None:
    pulse.stop()
