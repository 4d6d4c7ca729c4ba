"""Changes to Celery: neither a message that makes no sense nor a broker that refuses ends the worker.

Nothing here decides what becomes of a change.
"""

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from celery import Celery, Task
from celery.app.task import Context
from celery.exceptions import (
    CPendingDeprecationWarning,
    InvalidTaskError,
    NotRegistered,
    TimeLimitExceeded,
)
from celery.utils.log import get_logger
from celery.utils.time import timezone
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from celery.worker.state import maybe_shutdown
from celery.worker.strategy import default

from worker import log
from worker.background import RepeatedFailure
from worker.celery_config import COUNTDOWN_HEADER
from worker.celery_unreadable import MAX_DEPTH, is_shallow, wrap_refused
from worker.redis.client import ResponseError, explain_error

LONGEST_PAUSE = 8  # seconds until a broker that refused a command is asked again, the first time one
FOLLOWERS = {"callbacks", "errbacks", "chain", "chord"}  # what else a message may name that is to run
QUIET = 60.0  # seconds after which what was said of the broker is said again
RESENDS_HEADER: Final = "relations-waits"  # how often a message was sent once more
# Seconds between tries. Well below any visibility timeout: a Redis would deliver what waits for longer to
# others, too, and each of these copies would be sent again, twice as many at each try.
MAX_DELAY: Final = 30.0
MAX_COUNT: Final = 2**31  # of a header; one more is still a number that RabbitMQ takes


def checked_strategy(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., None]:
    """Return Celery's way to run a message, behind a check that it is one.

    Over any other, Celery would end the whole worker, and again when the message is redelivered.
    """
    run = default(task, app, consumer, **options)
    connection: Any = consumer.connection
    may_be_lost = getattr(task, "may_be_lost", False) and connection.transport.driver_type == "amqp"

    def run_checked(message: Any, body: Any, *settle: Any, **kwargs: Any) -> None:
        if not _is_task(_payload(message) if body is None else body):
            raise InvalidTaskError(
                f"expected arguments, named arguments and options, at most {MAX_DEPTH} levels deep"
            )
        shorten_wait(message.headers)
        waits = may_be_lost and message.headers.get("eta")
        run(message, body, *(settle if not waits else (_do_nothing, _do_nothing, *settle[2:])), **kwargs)
        if waits:
            # RabbitMQ gives a worker no more of a queue than it may have in hand, and what waits would count.
            # What makes no sense was refused before: after this, Celery would end over it.
            message.ack_log_error(get_logger(__name__), consumer.connection_errors)

    return run_checked


def shorten_wait(headers: dict[str, Any]) -> None:
    """Let a message of ours wait no longer than it was to, however far ahead the clock of its sender is."""
    # Without either header it waits for nothing; what makes no sense there, Celery refuses.
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        latest = datetime.now(UTC) + timedelta(seconds=headers[COUNTDOWN_HEADER])
        headers["eta"] = min(datetime.fromisoformat(headers["eta"]), latest).isoformat()


def send_again(task: Any, request: Any, *, is_counted: bool) -> None:
    """Send a task's message once more, to be delivered later each time; raise what the broker's client does.

    Counted among its redeliveries is what the message itself may be to blame for.
    """
    headers = {**(request.headers or {})}
    resends = _natural(headers.get(RESENDS_HEADER))
    headers[RESENDS_HEADER] = resends + 1
    headers[COUNTDOWN_HEADER] = delay = min(2.0 ** min(resends, 5), MAX_DELAY)
    retries = redeliveries_of(request) + is_counted
    task.signature_from_request(request, countdown=delay, headers=headers, retries=retries).apply_async()


def redeliveries_of(request: Any) -> int:
    """Return how often a message was delivered once more since it had ended its process, or failed there."""
    return _natural(request.retries)


def _natural(value: object) -> int:
    """Return a number of a message's headers, where its sender may have written anything."""
    return min(max(int(value), 0), MAX_COUNT) if isinstance(value, int) else 0


def _do_nothing(*_: object) -> None:
    """Settle nothing."""


class CheckedRequest(Request):
    """A task's message; one whose headers make no sense is refused as no message of a task."""

    def __init__(self, message: Any, **options: Any) -> None:
        try:
            super().__init__(message, **options)
            self.request_dict["retries"] = _natural(self.request_dict.get("retries"))
            self._check()
        except InvalidTaskError:
            raise
        except Exception as error:
            raise InvalidTaskError(
                f"this is no message of a task: {type(error).__name__}: {error}"
            ) from error

    def cancel(self, *args: Any, **options: Any) -> None:
        """Cancel the task; in a pool that cannot (solo, threads), it goes on to its end.

        SIGQUIT would raise this error within the task that solo runs, and its message would count as done.
        """
        with suppress(NotImplementedError):
            super().cancel(*args, **options)

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> None:
        """Note that the task failed; what prefork ended for its time comes here first."""
        if isinstance(getattr(exc_info.exception, "exc", exc_info.exception), TimeLimitExceeded):
            self._send_later()
        super().on_failure(exc_info, *args, **options)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Note that the task takes too long, or, unless it is told only, that it was ended: gevent's way."""
        if not soft:
            self._send_later()
        super().on_timeout(soft, timeout)

    def _send_later(self) -> None:
        """Let a message that outlives its time limits come again later.

        Celery would give it back at once: one that takes too long each time would end child after child.
        """
        own: Any = self
        if not (own.task.acks_on_timeout or own.acknowledged):
            with suppress(Exception):  # whatever the broker's client raises; then Celery gives it back
                send_again(own.task, own._context, is_counted=True)
                self.acknowledge()

    def _check(self) -> None:
        """Check what Celery looks at later, where nobody catches its errors."""
        soft, hard = self.time_limits
        headers = self.request_dict.get("stamped_headers") or []
        stamps = self.request_dict.get("stamps") or {}
        if self.eta:
            timezone.to_system(self.eta)  # raises for the first and the last day of the calendar
        if not (isinstance(self.id, str) and _is_limit(soft) and _is_limit(hard)):
            raise TypeError("expected an id that is text, and limits that are numbers")
        if not (isinstance(headers, list) and isinstance(stamps, dict)):
            raise TypeError("expected stamps by name")


class CheckedTask(Task[Any, Any]):
    """The base of our tasks; both classes are named because Celery itself looks them up late."""

    Request = "worker.celery_patches:CheckedRequest"
    Strategy = "worker.celery_patches:checked_strategy"


class StrategyTable(dict[Any, Any]):
    """Ways to run messages by the name of their task; a name that is no text is an unknown one."""

    def __getitem__(self, name: object) -> Any:
        if not isinstance(name, str):
            raise KeyError(str(name))
        return super().__getitem__(name)


class TolerantConsumer(Consumer):
    """Celery's consumer, which keeps for operators what Celery would write into its log and drop.

    It says why it lost its broker, and leaves one that answers and refuses alone for a while.
    """

    Strategies = StrategyTable
    _reported_at, _refusals = 0.0, 0

    def __init__(self, *args: Any, **options: Any) -> None:
        self._failure = RepeatedFailure()
        super().__init__(*args, **options)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Say that the broker cannot be used, and wait: Celery would try again at once."""
        self._report(exc)
        self._wait()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Say what happened, and let the next connection be made anew."""
        self._report(exc)
        with warnings.catch_warnings(action="ignore", category=CPendingDeprecationWarning):
            super().on_connection_error_after_connected(exc)  # it tells of a setting that ours chooses
        if isinstance(exc, ResponseError) or getattr(exc, "reply_code", None):  # a Redis's, a RabbitMQ's
            self._wait()

    def on_unknown_message(self, _body: object, message: Any) -> None:
        """Keep a message that names no task."""
        self._keep(message, KeyError("task"))

    def on_unknown_task(self, _body: object, message: Any, exc: Exception) -> None:
        """Keep a message for a task that is none of ours."""
        self._keep(message, NotRegistered(str(exc)))

    def on_invalid_task(self, _body: object, message: Any, exc: Exception) -> None:
        """Keep a message that makes no sense."""
        self._keep(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a message that cannot be unpacked."""
        self._keep(message, exc)

    def _keep(self, message: Any, error: Exception) -> None:
        wrap_refused(message, error.__cause__ or error)
        self.create_task_handler()(message)

    def _report(self, error: Exception) -> None:
        cause, now = explain_error(error), time.monotonic()
        if now - self._reported_at > QUIET:
            self._failure.forget()
            self._refusals = 0
        if self._failure.is_news(cause):
            log.emit("broker.lost", error=cause)
            self._reported_at = now

    def _wait(self) -> None:
        self._refusals += 1
        for _ in range(min(self._refusals, LONGEST_PAUSE)):
            maybe_shutdown()
            time.sleep(1.0)


def _is_limit(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _payload(message: Any) -> object:
    try:
        return message.payload
    except Exception as error:  # whatever the decoder of its content type raises
        raise InvalidTaskError(f"cannot be decoded: {type(error).__name__}") from error


def _is_task(payload: object) -> bool:
    if isinstance(payload, dict):  # older clients name the parts
        payload = [payload.get("args", []), payload.get("kwargs", {}), {}]
    if not isinstance(payload, list | tuple) or len(payload) != 3:
        return False
    args, kwargs, options = payload
    are_parts = isinstance(args, list | tuple) and isinstance(kwargs, dict)
    return are_parts and _are_options(options or {}) and is_shallow(payload)


def _are_options(options: object) -> bool:
    """Return whether they overwrite nothing that a task is told of itself, as its id."""
    return isinstance(options, dict) and not (vars(Context).keys() - FOLLOWERS) & options.keys()
