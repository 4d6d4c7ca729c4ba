"""The Celery application: configured once, here. Start it as `celery -A worker.app worker` and `… beat`.

A message is a wake-up and a unit of scheduling, never the only copy of a change; each setting below keeps that true.
"""

import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from kombu import Queue

from worker import log
from worker.config import Settings
from worker.errors import InvalidSettings
from worker.wiring import settings_of

QUEUES = ("relations.intake", "relations.flush", "relations.ops")
SWEEP = 2.0  # seconds between sweeps


def configure(app: Celery, settings: Settings) -> None:
    """Set everything that reliability rests on."""
    longest = max((account.timeout for account in settings.accounts.values()), default=30.0)
    app.conf.update(
        broker_url=_broker(settings.broker_url),
        broker_connection_retry_on_startup=True,
        broker_transport_options=_transport(settings.broker_url, longest),
        task_queues=[Queue(name) for name in QUEUES],
        task_default_queue="relations.ops",
        task_routes={"relations.accept": "relations.intake", "relations.flush": "relations.flush"},
        task_create_missing_queues=True,
        # A flush is leased and idempotent: acknowledge late, so that a dead worker's message comes back.
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # true makes a poison message an endless loop
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        task_ignore_result=True,  # the status store is ours
        task_serializer="json",
        accept_content=["json"],
        worker_soft_shutdown_timeout=longest + 10.0,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a blip of the broker must not stop a request
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_timer_precision=0.05,
        redis_backend_health_check_interval=10,
        beat_schedule={"sweep": {"task": "relations.sweep", "schedule": SWEEP, "options": {"expires": 2 * SWEEP}}},
        beat_max_loop_interval=SWEEP,
    )


def _broker(url: str) -> str:
    """Celery's word for the URL: ours says `redis+sentinel`, kombu's `sentinel`."""
    return url.replace("redis+sentinel://", "sentinel://", 1)


def _transport(url: str, longest: float) -> dict[str, Any]:
    if url.startswith(("amqp", "pyamqp")):
        return {"confirm_publish": True}
    return {
        # Longer than any flush, so that a slow one is not delivered twice; a lost one comes back within seconds of it.
        "visibility_timeout": 20.0 + longest + 30.0,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,
        "socket_keepalive": True,
        "socket_connect_timeout": 5.0,
        "health_check_interval": 10,
    }


def _settings() -> Settings:
    """The settings; without them there is nothing to start, and one message says all that is wrong."""
    try:
        return settings_of(os.environ, Path.cwd())
    except InvalidSettings as error:
        sys.exit("\n".join(["The settings cannot be used:", *(f"  {fault}" for fault in error.faults)]))


settings = _settings()
app = Celery("relations", include=["worker.tasks"])
configure(app, settings)


@setup_logging.connect
def _log(**_: object) -> None:
    """Logging is ours; Celery's own lines go through the same pipeline."""
    log.configure(settings.log)
