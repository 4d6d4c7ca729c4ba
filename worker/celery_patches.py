"""Celery and kombu where they fall short of a worker that must not end: over a message that makes no sense,
over a connection that broke, over a Redis that is full. Nothing here decides what becomes of a change.

Classes only; `apply_patches` puts those of kombu in place when an application is configured.
"""

import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any

from celery import Celery, Task
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from celery.worker.strategy import default
from kombu.transport.redis import Channel, QoS, SentinelChannel, SentinelTransport, Transport
from kombu.transport.virtual import QoS as VirtualQoS
from kombu.utils.json import dumps

from worker.redis.client import OutOfMemoryError
from worker.redis.sentinel import SentinelConnection

UNDECODED = "relations.undecoded"  # the argument that has content type, error and body (base64)
MAX_DEPTH = 20  # levels of lists and objects in a message; a list of changes has five
# A full Redis refuses what brings something in. What a worker moves within the broker does not grow it for
# long, so it may.
REMEMBER_UNACKED = """#!lua flags=allow-oom
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2]) redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])"""
PUBLISH = """#!lua flags=allow-oom
redis.call('LPUSH', KEYS[1], ARGV[1])"""


def apply_patches() -> None:
    """Make every later connection of this process to a Redis broker use the channels below."""
    Transport.Channel, SentinelTransport.Channel = TolerantChannel, TolerantSentinelChannel


# --- messages that make no sense


def checked_strategy(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., None]:
    """Return Celery's way to run a message, behind a check that it is one.

    Over any other, Celery would end the whole worker, and again when the message is redelivered.
    """
    run = default(task, app, consumer, **options)

    def run_checked(message: Any, body: Any, *args: Any, **kwargs: Any) -> None:
        if body is None and getattr(task, "keeps_undecodable", False):
            wrap_undecodable(message)
        if not _is_task(_payload(message) if body is None else body):
            raise InvalidTaskError(
                f"expected arguments, named arguments and options, at most {MAX_DEPTH} levels deep"
            )
        run(message, body, *args, **kwargs)

    return run_checked


class CheckedRequest(Request):
    """A task's message; one whose headers make no sense is refused as no message of a task."""

    def __init__(self, message: Any, **options: Any) -> None:
        try:
            super().__init__(message, **options)
            self._check()
        except InvalidTaskError:
            raise
        except Exception as error:
            raise InvalidTaskError(
                f"this is no message of a task: {type(error).__name__}: {error}"
            ) from error

    def _check(self) -> None:
        """Check what Celery looks at later, where nobody catches its errors."""
        soft, hard = self.time_limits
        headers = self.request_dict.get("stamped_headers") or []
        stamps = self.request_dict.get("stamps") or {}
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
    """Celery's consumer, for which a message without the name of a task is an unknown task like any other."""

    Strategies = StrategyTable


def wrap_undecodable(message: Any) -> None:
    """Make a body that cannot be decoded, or is not accepted, an argument of the message's task.

    So it is the task that keeps it, with its tries and redeliveries, where Celery would log and drop it.
    """
    try:
        message.payload  # noqa: B018 decodes
    except Exception as error:  # whatever the decoder of its content type raises
        body = (
            message.body.encode(errors="surrogateescape") if isinstance(message.body, str) else message.body
        )
        parts = [str(message.content_type), type(error).__name__, b64encode(body).decode()]
        message.body = json.dumps([[], {UNDECODED: parts}, {}])
        message.content_type, message.content_encoding = "application/json", "utf-8"
        message.headers = {**message.headers, "argsrepr": "", "kwargsrepr": ""}  # no body in a log


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
    args, kwargs, _ = payload
    return isinstance(args, list | tuple) and isinstance(kwargs, dict) and _is_shallow(payload, MAX_DEPTH)


def _is_shallow(value: object, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return levels > 0 and all(
        _is_shallow(item, levels - 1) for item in items if isinstance(item, dict | list | tuple)
    )


# --- connections that broke, and a Redis that is full


class TolerantQoS(QoS):
    """Settles messages only over a live connection; over a broken one, kombu's own may end the worker.

    What is not settled comes back after `visibility_timeout`, to a worker that finds nothing to do. On a full
    Redis, too, what was received is remembered, and what cannot be given back comes back later.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember that the message was received and is not acknowledged yet."""
        try:
            super().append(message, delivery_tag)
        except OutOfMemoryError:
            info = message.delivery_info
            text = dumps([message._raw, info["exchange"], info["routing_key"]])
            channel: Any = self.channel
            with channel.conn_or_acquire() as client:
                client.eval(
                    REMEMBER_UNACKED, 2, self.unacked_index_key, self.unacked_key, time(), delivery_tag, text
                )
            VirtualQoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge the message."""
        if self._is_connected():
            super().ack(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Give back what was not acknowledged."""
        if self._is_connected():
            super().restore_unacked(client)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Give back one message."""
        with suppress(OutOfMemoryError):
            super().restore_by_tag(tag, client, leftmost)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Give back what others left unacknowledged for too long."""
        with suppress(OutOfMemoryError):
            super().restore_visible(*args, **options)

    def _is_connected(self) -> bool:
        return getattr(self.channel.connection, "client", None) is not None


class _PublishWhenFull:
    """A mixin over kombu's channels: a worker can send also while Redis is full."""

    QoS: Any = TolerantQoS

    def _queue_bind(self, *names: Any) -> None:
        with suppress(OutOfMemoryError):  # it was bound when there was room
            super()._queue_bind(*names)  # type: ignore[misc]

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        try:
            super()._put(queue, message, **options)  # type: ignore[misc]
        except OutOfMemoryError:
            channel: Any = self
            key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))
            with channel.conn_or_acquire() as client:
                client.eval(PUBLISH, 1, key, dumps(message))


class TolerantChannel(_PublishWhenFull, Channel):
    """The channel to a Redis."""


class TolerantSentinelChannel(_PublishWhenFull, SentinelChannel):
    """The channel to whichever Redis a Sentinel names."""

    connection_class = SentinelConnection
