"""The Celery application: configured once, here. Start it as `celery -A worker.app worker` and `… beat`.

A message is a wake-up and a unit of scheduling, never the only copy of a change; each setting below keeps that true.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery
from celery.exceptions import InvalidTaskError
from celery.signals import setup_logging, task_prerun, worker_ready, worker_shutdown
from celery.worker.request import Request
from celery.worker.strategy import default
from kombu import Queue
from kombu.transport.redis import Channel, QoS

from worker import log
from worker.config import Settings
from worker.errors import InvalidSettings
from worker.server import AMQP, broker
from worker.threads import Pulse
from worker.wiring import numbers_of, settings_of

QUEUES = ("relations.intake", "relations.flush", "relations.ops")
SWEEP = 2.0  # seconds between sweeps
DEEPEST = 20  # levels of lists and objects in a message; a list of changes has five


def configure(app: Celery, settings: Settings) -> None:
    """Set everything that reliability rests on."""
    longest = max((account.timeout for account in settings.accounts.values()), default=30.0)
    url, options = broker(settings.broker_url)
    app.conf.update(
        broker_url=url,
        broker_connection_retry_on_startup=True,
        broker_transport_options=options | _transport(url, longest),
        task_queues=[Queue(name) for name in QUEUES],
        task_default_queue="relations.ops",
        task_routes={"relations.accept": "relations.intake", "relations.flush": "relations.flush"},
        # A flush is leased and idempotent: acknowledge late, so that a dead worker's message comes back.
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # true makes a poison message an endless loop
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=not url.startswith(AMQP),  # it keeps its own count of what it hands out
        task_ignore_result=True,  # the status store is ours
        task_serializer="json",
        accept_content=["json"],
        worker_soft_shutdown_timeout=longest + 10.0,
        # A blip of the broker must not stop a request. Measured with Redis killed every 2 s, 16 times each: all was done 4 s after
        # the last kill (true: 4 and 9 s), and no message of changes was lost (true: those of 21 changes).
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_timer_precision=0.05,
        beat_schedule={"sweep": {"task": "relations.sweep", "schedule": SWEEP, "options": {"expires": 2 * SWEEP}}},
        beat_max_loop_interval=SWEEP,
    )


def strategy(task: Any, app: Celery, consumer: Any, **more: Any) -> Callable[..., None]:
    """Celery's way to run a message, for what is one: over another it would end the whole worker, and again when it is redelivered."""
    run = default(task, app, consumer, **more)

    def careful(message: Any, body: Any, *rest: Any, **how: Any) -> None:
        if not _is_task(message.payload if body is None else body):
            raise InvalidTaskError(f"expected arguments, named arguments and options, at most {DEEPEST} levels deep")
        run(message, body, *rest, **how)

    return careful


class Message(Request):
    """A task's message; one whose headers make no sense is refused like any other that is none."""

    def __init__(self, message: Any, **more: Any) -> None:
        try:
            super().__init__(message, **more)
            _, _ = self.time_limits  # as Celery does later, where nobody catches it
        except InvalidTaskError:
            raise
        except Exception as error:
            raise InvalidTaskError(f"this is no message of a task: {type(error).__name__}: {error}") from error
        if not isinstance(self.id, str):
            raise InvalidTaskError("expected an id that is text")


def _is_task(payload: object) -> bool:
    if isinstance(payload, dict):  # older clients name the parts
        payload = [payload.get("args", []), payload.get("kwargs", {}), {}]
    if not isinstance(payload, list | tuple) or len(payload) != 3:
        return False
    return isinstance(payload[0], list | tuple) and isinstance(payload[1], dict) and _is_shallow(payload, DEEPEST)


def _is_shallow(value: object, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in inside if isinstance(each, dict | list | tuple))


class Unacknowledged(QoS):
    """Settles messages only over a connection that is there; kombu's own class may end the whole worker over one that broke.

    What is not settled comes back after `visibility_timeout`, to a worker that finds nothing to do.
    """

    def ack(self, delivery_tag: str) -> None:
        """The message is done."""
        if self._is_connected():
            super().ack(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Give back what was not acknowledged."""
        if self._is_connected():
            super().restore_unacked(client)

    def _is_connected(self) -> bool:
        return getattr(self.channel.connection, "client", None) is not None


def _transport(url: str, longest: float) -> dict[str, Any]:
    if url.startswith(AMQP):
        return {}
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
        sys.stderr.write("\n".join(["The settings cannot be used:", *(f"  {fault}" for fault in error.faults), ""]))
        sys.exit(2)


settings = _settings()
app = Celery("relations", include=["worker.tasks"])
app.Task.Request, app.Task.Strategy = "worker.app:Message", "worker.app:strategy"
Channel.QoS = Unacknowledged
configure(app, settings)


@setup_logging.connect
def _log(**_: object) -> None:
    """Logging is ours; Celery's own lines go through the same pipeline."""
    log.configure(settings.log)


@task_prerun.connect
def _begin(task_id: str, **_: object) -> None:
    """Every line of a task names it."""
    log.begin(task=task_id)


pulse = Pulse(partial(numbers_of, settings))


@worker_ready.connect
def _ready(sender: Any, **_: object) -> None:
    """Only now: whoever asks who works must not be told of a worker that came no further."""
    pulse.start(sender.controller.hostname, concurrency=sender.controller.concurrency)


@worker_shutdown.connect
def _over(**_: object) -> None:
    pulse.stop()
