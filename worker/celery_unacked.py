"""Messages that a worker has taken from a Redis and not acknowledged: a broker that is ill loses none."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any, Final, cast
from uuid import uuid4

from kombu.transport.redis import QoS
from kombu.transport.virtual import QoS as VirtualQoS
from kombu.utils.json import dumps

from worker.redis.client import RedisError, ResponseError

# A full Redis refuses what brings something in, and one of version 7.0 everything inside MULTI, even reads.
# What a worker moves within the broker does not grow it for long, so it may.
REMEMBER_UNACKED = """#!lua flags=allow-oom
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2]) redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])"""
FORGET_UNACKED = """#!lua flags=allow-oom
redis.call('ZREM', KEYS[1], ARGV[1]) redis.call('HDEL', KEYS[2], ARGV[1])"""
KEEP_UNACKED = """#!lua flags=allow-oom
for n = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', ARGV[1], ARGV[n]) end"""
KEPT_AT_ONCE: Final = 1_000  # messages of one call

_unremembered: Final[dict[str, str]] = {}
"""What this process alone has of messages, by their tags, until Redis takes it or they are acknowledged."""


class TolerantQoS(QoS):
    """Settles messages only over a live connection; over a broken one, kombu's own may end the worker.

    What is not settled comes back after `visibility_timeout`, to a worker that finds nothing to do. What
    waits here for its time does not: there would be one copy more each time. On a full Redis, too, what
    was received is remembered and forgotten; what cannot be given back, because Redis refuses, comes
    back later. What a Redis that hangs leaves open makes room for another here, and is remembered as
    soon as it can be.
    """

    _kept_at = float("-inf")

    def append(self, message: Any, _delivery_tag: str) -> None:
        """Remember that the message was received and is not acknowledged yet.

        By a tag of our own: two messages whose sender gives them one would share what is remembered.
        """
        info, tag = message.delivery_info, str(uuid4())
        _unremembered[tag] = dumps([message._raw, info["exchange"], info["routing_key"]])
        try:  # after a refusal the connection goes on, and so does what waits for its time
            with suppress(ResponseError):
                self._remember(tag)
        except RedisError:
            # This is its only copy now, and what waits for its time is given up with the connection.
            message.headers.pop("eta", None)
        message.delivery_tag = tag
        VirtualQoS.append(self, message, tag)

    def _remember(self, tag: str) -> None:
        """Let Redis remember a message, if it does not yet."""
        if text := _unremembered.get(tag):
            own: tuple[Any, ...] = (self.unacked_index_key, self.unacked_key, time(), tag, text)
            with cast("Any", self.channel).conn_or_acquire() as client:
                client.eval(REMEMBER_UNACKED, 2, *own)
            _unremembered.pop(tag, None)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        """Return the pipeline that forgets the message."""
        if pipe:  # a transaction that gives it back
            return super()._remove_from_indices(delivery_tag, pipe)  # type: ignore[misc]
        with self.pipe_or_acquire() as own:
            return own.eval(FORGET_UNACKED, 2, self.unacked_index_key, self.unacked_key, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge the message."""
        _unremembered.pop(delivery_tag, None)
        self._settle(super().ack, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop the message, or give it back."""
        if not requeue:
            _unremembered.pop(delivery_tag, None)
        self._settle(super().reject, delivery_tag, requeue)

    def _settle(self, settle: Callable[..., None], delivery_tag: str, *how: bool) -> None:
        """Settle the message; where that fails, another may take its place all the same."""
        if self._is_connected():
            try:
                settle(delivery_tag, *how)
            except RedisError:
                VirtualQoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Give back what was not acknowledged."""
        if self._is_connected():
            super().restore_unacked(client)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Give back one message."""
        with suppress(ResponseError):
            self._remember(tag)
            super().restore_by_tag(tag, client, leftmost)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Give back what others left unacknowledged for too long; remember what Redis did not take before."""
        with suppress(ResponseError):
            for tag in [*_unremembered]:
                self._remember(tag)
        with suppress(ResponseError):
            self._keep_waiting()
        with suppress(ResponseError):
            super().restore_visible(*args, **options)

    def _keep_waiting(self) -> None:
        """Let nobody be given what waits here for its time, a few times within `visibility_timeout`."""
        if monotonic() - self._kept_at < self.visibility_timeout / 4:
            return
        self._kept_at, now = monotonic(), datetime.now(UTC)
        held = cast("dict[str, Any]", self._delivered)
        waiting = [tag for tag, message in [*held.items()] if waits(message, now)]
        for first in range(0, len(waiting), KEPT_AT_ONCE):
            with cast("Any", self.channel).conn_or_acquire() as client:
                tags = waiting[first : first + KEPT_AT_ONCE]
                client.eval(KEEP_UNACKED, 1, self.unacked_index_key, time(), *tags)

    def _is_connected(self) -> bool:
        return getattr(self.channel.connection, "client", None) is not None


def waits(message: Any, now: datetime) -> bool:
    """Return whether the time that the sender of a message named is still to come."""
    older = message._decoded_cache  # older clients name it beside their arguments
    with suppress(KeyError, TypeError, ValueError):
        eta = datetime.fromisoformat((older if isinstance(older, dict) else message.headers)["eta"])
        return (eta if eta.tzinfo else eta.replace(tzinfo=UTC)) > now
    return False
