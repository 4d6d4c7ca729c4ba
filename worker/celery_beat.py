"""When beat sends the sweep: by this machine's monotonic clock, kept in memory.

Celery's own scheduler goes by the time of day, which may be set back, and keeps in a file when it last sent.
"""

import time
from functools import cached_property
from typing import Any, Final

from celery.beat import Scheduler, SchedulingError

from worker import log
from worker.background import RepeatedFailure
from worker.redis.client import explain_error

MAX_WAITING: Final = 3  # messages in the queue while no worker takes them; replays wait behind its sweeps


class SweepScheduler(Scheduler):
    """Sends each message of the schedule once per interval, unless enough of them wait already."""

    _next_at = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        self._failure = RepeatedFailure()
        super().__init__(*args, **options)

    @cached_property
    def producer(self) -> Any:
        """What sends. Celery's own connects at once, and waits without an end for a broker that is away."""
        scheduler: Any = self
        return scheduler.Producer(scheduler.connection, auto_declare=False)

    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due, and return the seconds until more is."""
        if (wait := self._next_at - time.monotonic()) > 0:
            return wait
        entries: list[Any] = list(self.schedule.values())
        interval = min(float(entry.schedule.seconds) for entry in entries)
        self._next_at = time.monotonic() + interval
        for entry in entries:
            self.apply_entry(entry, producer=self.producer)
        return interval

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send the message; that it cannot be sent is said once, until the cause changes.

        The next is sent over a connection made anew: what sends to a RabbitMQ would keep to the broken one.
        """
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # whatever the broker's client raises
            cause = explain_error(error.__context__ or error if isinstance(error, SchedulingError) else error)
            if self._failure.is_news(cause):
                log.emit("sweep.failed", error=cause)
            self.close()
        else:
            self._failure.forget()

    def apply_async(self, entry: Any, producer: Any = None, *args: Any, **options: Any) -> Any:
        """Send the message. No instant after which it is void goes with it: the worker's clock may differ."""
        queue: Any = self.app.amqp.queues[self.app.conf.task_default_queue]
        waiting = queue.bind(self.connection.default_channel).queue_declare().message_count
        return super().apply_async(entry, producer, *args, **options) if waiting < MAX_WAITING else None
