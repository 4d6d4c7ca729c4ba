"""What Celery is configured with, as a function of the settings, and the names of our tasks and queues. Pure.

A message is a wake-up and a unit of scheduling, never the only copy of a change; each setting below keeps
that true.
"""

from typing import Any, Final, NamedTuple

from worker.config import Settings
from worker.redis.broker import AMQP_SCHEMES, broker_settings
from worker.usecases.flush import FLUSH_BUDGET

ACCEPT_TASK: Final = "relations.accept"
FLUSH_TASK: Final = "relations.flush"
SWEEP_TASK: Final = "relations.sweep"
REPLAY_TASK: Final = "relations.replay"

COUNTDOWN_HEADER: Final = "relations-countdown"
"""In how many seconds a message of ours is due: its `eta` is by the clock of a machine that may be wrong."""
SWEEP_INTERVAL: Final = 2.0  # seconds
CONNECT_TIMEOUT: Final = 5.0  # seconds a sender waits for a connection to the broker
BEAT: Final = {
    "beat_schedule": {"sweep": {"task": SWEEP_TASK, "schedule": SWEEP_INTERVAL}},
    "beat_scheduler": "worker.celery_beat:SweepScheduler",
    "beat_max_loop_interval": SWEEP_INTERVAL,
}


class QueueNames(NamedTuple):
    """The names of the three queues of one environment."""

    intake: str
    flush: str
    ops: str


def queue_names(prefix: str) -> QueueNames:
    """Return the names of the queues: those of another prefix are another environment's."""
    return QueueNames(*(f"{prefix}.{name}" for name in QueueNames._fields))


def worker_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of worker and beat."""
    from kombu import Queue  # slow to import, and who only wants the names does without

    longest_request = max((account.timeout for account in settings.accounts.values()), default=30.0)
    broker, queues = broker_settings(settings.broker_url, settings.prefix), queue_names(settings.prefix)
    is_amqp = settings.broker_url.startswith(AMQP_SCHEMES)
    if not is_amqp:
        broker["broker_transport_options"] |= _redelivery(longest_request)
    return {
        **broker,
        "broker_connection_retry_on_startup": True,
        # The default, 100, ends a worker after three quarters of an hour without its broker.
        "broker_connection_max_retries": None,
        # What a broker refuses for a while (NOREPLICAS, MISCONF, BUSY, NOPERM; of RabbitMQ a right, a queue
        # whose node is down) would end the worker.
        "broker_channel_error_retry": True,
        "task_queues": [Queue(name) for name in queues],
        "task_default_queue": queues.ops,
        **_shared_names(settings.prefix),
        # A flush is leased and idempotent: acknowledge late, so that a dead worker's message comes back.
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,  # true makes a poison message an endless loop
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": not is_amqp,  # RabbitMQ itself counts what it has delivered
        "task_ignore_result": True,  # the status store is ours
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_soft_shutdown_timeout": longest_request + 10.0,
        # A blip of the broker must not stop a request. Measured with Redis killed every 2 s, 16 times each:
        # all was done 4 s after the last kill (true: 4 and 9 s), and no message of changes was lost (true:
        # those of 21 changes).
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_prefetch_count_reduction": False,  # no broker of ours can count differently later
        "worker_consumer": "worker.celery_patches:TolerantConsumer",
        "worker_hijack_root_logger": False,
        "worker_send_task_events": False,
        "worker_timer_precision": 0.05,
        **BEAT,
    }


def sender_config(broker_url: str, prefix: str) -> dict[str, Any]:
    """Return the configuration of a process that only sends messages to our tasks."""
    return {
        **broker_settings(broker_url, prefix),
        "broker_connection_timeout": CONNECT_TIMEOUT,
        "task_ignore_result": True,
        **_shared_names(prefix),
    }


def _shared_names(prefix: str) -> dict[str, Any]:
    """Return the names that workers and those who send to them or ask them share."""
    queues, events = queue_names(prefix), f"{prefix}.events"
    return {
        "task_routes": {
            ACCEPT_TASK: queues.intake,
            FLUSH_TASK: queues.flush,
            SWEEP_TASK: queues.ops,
            REPLAY_TASK: queues.ops,
        },
        "control_exchange": prefix,
        "event_exchange": events,
        "event_queue_prefix": events,
    }


def _redelivery(longest_request: float) -> dict[str, Any]:
    """Return when a Redis broker delivers an unacknowledged message again."""
    return {
        # Longer than any flush, so that a slow one is not delivered twice; a lost one comes back within
        # seconds of it.
        "visibility_timeout": FLUSH_BUDGET + longest_request + 30.0,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,
    }
