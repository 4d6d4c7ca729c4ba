"""Celery and kombu where they fall short of a worker that must not end: over a message that makes no sense, over a connection that
broke, over a Redis that is full. Nothing here decides what becomes of a change.
"""

from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any

from celery import Celery
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from celery.worker.strategy import default
from kombu.transport.redis import Channel, QoS, SentinelChannel, SentinelTransport, Transport
from kombu.transport.virtual import QoS as Held
from kombu.utils.json import dumps

from worker.redis.client import OutOfMemoryError
from worker.redis.sentinel import SentinelConnection

DEEPEST = 20  # levels of lists and objects in a message; a list of changes has five
# A full Redis refuses what brings something in. What a worker moves within the broker does not grow it for long, so it may.
KEEP = "#!lua flags=allow-oom\nredis.call('ZADD', KEYS[1], ARGV[1], ARGV[2]) redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])"
PUT = "#!lua flags=allow-oom\nredis.call('LPUSH', KEYS[1], ARGV[1])"


def strategy(task: Any, app: Celery, consumer: Any, **more: Any) -> Callable[..., None]:
    """Celery's way to run a message, for what is one: over another it would end the whole worker, and again when it is redelivered."""
    run = default(task, app, consumer, **more)

    def careful(message: Any, body: Any, *rest: Any, **how: Any) -> None:
        if not _is_task(_payload(message) if body is None else body):
            raise InvalidTaskError(
                f"expected arguments, named arguments and options, at most {DEEPEST} levels deep"
            )
        run(message, body, *rest, **how)

    return careful


class TaskMessage(Request):
    """A task's message; one whose headers make no sense is refused like any other that is none."""

    def __init__(self, message: Any, **more: Any) -> None:
        try:
            super().__init__(message, **more)
            self._check()
        except InvalidTaskError:
            raise
        except Exception as error:
            raise InvalidTaskError(
                f"this is no message of a task: {type(error).__name__}: {error}"
            ) from error

    def _check(self) -> None:
        """What Celery looks at later, where nobody catches it."""
        soft, hard = self.time_limits
        headers = self.request_dict.get("stamped_headers") or []
        stamps = self.request_dict.get("stamps") or {}
        if not (isinstance(self.id, str) and _is_limit(soft) and _is_limit(hard)):
            raise TypeError("expected an id that is text, and limits that are numbers")
        if not (isinstance(headers, list) and isinstance(stamps, dict)):
            raise TypeError("expected stamps by name")


class Strategies(dict[Any, Any]):
    """Ways to run messages by the name of their task; what is no name has none."""

    def __getitem__(self, name: object) -> Any:
        if not isinstance(name, str):
            raise KeyError(str(name))
        return super().__getitem__(name)


class Receiver(Consumer):
    """Celery's own, for which a message without the name of a task is an unknown task like any other."""

    Strategies = Strategies


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
    return (
        isinstance(payload[0], list | tuple)
        and isinstance(payload[1], dict)
        and _is_shallow(payload, DEEPEST)
    )


def _is_shallow(value: object, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return levels > 0 and all(
        _is_shallow(each, levels - 1) for each in inside if isinstance(each, dict | list | tuple)
    )


class Unacknowledged(QoS):
    """Settles messages only over a connection that is there; kombu's own class may end the whole worker over one that broke.

    What is not settled comes back after `visibility_timeout`, to a worker that finds nothing to do. On a full Redis, too, what was
    received is remembered, and what cannot be given back comes back later.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        """The message is in hand."""
        try:
            super().append(message, delivery_tag)
        except OutOfMemoryError:
            where = message.delivery_info
            text = dumps([message._raw, where["exchange"], where["routing_key"]])
            channel: Any = self.channel
            with channel.conn_or_acquire() as client:
                client.eval(KEEP, 2, self.unacked_index_key, self.unacked_key, time(), delivery_tag, text)
            Held.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """The message is done."""
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
        """Give back what others left unsettled."""
        with suppress(OutOfMemoryError):
            super().restore_visible(*args, **options)

    def _is_connected(self) -> bool:
        return getattr(self.channel.connection, "client", None) is not None


class Posting:
    """Over kombu's channels: a worker can send also while Redis is full."""

    QoS: Any = Unacknowledged

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
                client.eval(PUT, 1, key, dumps(message))


class Post(Posting, Channel):
    """The channel to a Redis."""


class SentinelPost(Posting, SentinelChannel):
    """The channel to whichever Redis a Sentinel names."""

    connection_class = SentinelConnection


def apply_patches() -> None:
    """Let every connection of this process be made so."""
    Transport.Channel, SentinelTransport.Channel = Post, SentinelPost
