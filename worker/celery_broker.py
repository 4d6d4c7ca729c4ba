"""Celery's connections to the broker: named by the prefix, and alive over a broken one or a full Redis.

`OwnCelery` is what our applications are, so a program around the SDK keeps its own Celery as it is. kombu's
own `global_keyprefix` is not used: it renames the queues that producers without our code send to, and leaves
out keys of scripts and of commands that it does not know.
"""

from contextlib import suppress
from functools import cached_property
from queue import Empty
from typing import Any, Final

from celery import Celery
from celery.app.amqp import AMQP
from celery.app.control import Control
from kombu import Connection, Queue
from kombu.connection import ConnectionPool, PooledConnection
from kombu.pidbox import Mailbox
from kombu.transport.redis import Channel, SentinelChannel, SentinelTransport, Transport
from kombu.utils.json import dumps

from worker import log
from worker.celery_unacked import TolerantQoS
from worker.celery_unreadable import wrap_foreign
from worker.config import mask_url
from worker.redis.client import Client as Redis
from worker.redis.client import (
    NoPermissionError,
    OutOfMemoryError,
    ResponseError,
    make_retry,
    no_retry,
)
from worker.redis.connection import renewed
from worker.redis.sentinel import EncryptedSentinelConnection, SentinelConnection

# A full Redis refuses what brings something in, but what a worker moves within the broker does not grow it.
PUBLISH = """#!lua flags=allow-oom
redis.call('LPUSH', KEYS[1], ARGV[1])"""


class BrokerClient(Redis):
    """A client whose pipelines are no transactions unless one is asked for, and that brings messages only."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        """Return the next answer; what is taken from a queue is a message, whatever stood there."""
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        if command_name == "BRPOP" and answer:
            queue, item = answer
            return queue, wrap_foreign(item, queue)
        return answer

    def pipeline(self, transaction: bool = False, shard_hint: Any = None) -> Any:
        """Return a pipeline."""
        return super().pipeline(transaction, shard_hint)


class _OwnChannel:
    """A mixin over kombu's channels: every key has a name of ours, and a full Redis takes messages too."""

    QoS: Any = TolerantQoS
    max_age = 0.0
    _kept_client: Any = None
    own_options = ("max_age", "keyprefix_queue", "keyprefix_binding_permanent", "keyprefix_binding_deadlines")

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        channel: Any = super()
        prefix: str = self.keyprefix_fanout  # type: ignore[attr-defined]
        return channel._deliver_fanout_message(message, exchange.removeprefix(prefix))

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        params: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]
        # What waits for messages must not connect and wait again by itself: the worker would stand still.
        retry = no_retry() if asynchronous else make_retry()
        own = {"connection_class": renewed(params["connection_class"]), "retry": retry}
        return {**params, **own, "max_age": self.max_age}

    def _brpop_start(self, timeout: float | None = None) -> None:
        channel: Any = self
        if channel.client.connection.is_too_old:
            channel.client.connection.disconnect()  # the next round connects anew
        else:
            super()._brpop_start(timeout)  # type: ignore[misc]

    def _get_client(self) -> Any:
        return BrokerClient

    def _create_client(self, asynchronous: bool = False) -> Any:
        # kombu makes a client per message, at the cost of several commands; one serves as long as its pool.
        channel: Any = self
        kombus: Any = super()
        if asynchronous:
            return kombus._create_client(asynchronous)
        if self._kept_client is None or self._kept_client.connection_pool is not channel.pool:
            self._kept_client = kombus._create_client()
        return self._kept_client

    def _subscribe(self) -> None:
        """Subscribe to channels by name where it is one: a right to `relations*` covers no pattern."""
        channel: Any = self
        client = channel.subclient
        if client.connection._sock is None:
            client.connection.connect()
        channel._in_listen = client.connection
        for queue in channel.active_fanout_queues:
            for topic in channel._get_subscribe_topics(queue):
                (client.psubscribe if "*" in topic else client.subscribe)(topic)

    def _unsubscribe_from(self, queue: str) -> None:
        channel: Any = self
        client = channel.subclient
        if client.connection and client.connection._sock:
            for topic in channel._get_subscribe_topics(queue):
                (client.punsubscribe if "*" in topic else client.unsubscribe)(topic)

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)  # type: ignore[misc]
        except ResponseError as error:
            if not (isinstance(error, NoPermissionError) or str(error).startswith("unknown command")):
                raise
            log.emit("control.refused", error=str(error))
            raise Empty from error

    def maybe_refresh_binding_expiry(self) -> None:
        """Refresh what expires of bindings; kombu would log a refusal each second, with a traceback."""
        with suppress(ResponseError):
            super().maybe_refresh_binding_expiry()  # type: ignore[misc]

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


class OwnChannel(_OwnChannel, Channel):
    """The channel to a Redis."""

    from_transport_options = Channel.from_transport_options + _OwnChannel.own_options


class OwnSentinelChannel(_OwnChannel, SentinelChannel):
    """The channel to whichever Redis a Sentinel names."""

    connection_class = SentinelConnection
    connection_class_ssl = EncryptedSentinelConnection
    from_transport_options = SentinelChannel.from_transport_options + _OwnChannel.own_options


class OwnTransport(Transport):
    """kombu's transport to a Redis, over our channels."""

    Channel = OwnChannel


class OwnEncryptedTransport(OwnTransport):
    """kombu's transport to a Redis over TLS, over our channels."""


class OwnSentinelTransport(SentinelTransport):
    """kombu's transport to a Sentinel's master, over our channels."""

    Channel = OwnSentinelChannel


OWN_TRANSPORTS: Final = {
    "amqps": "worker.celery_amqp:OwnEncryptedAmqpTransport",
    "amqp": "worker.celery_amqp:OwnAmqpTransport",
    "rediss": "worker.celery_broker:OwnEncryptedTransport",
    "redis": "worker.celery_broker:OwnTransport",
    "sentinel": "worker.celery_broker:OwnSentinelTransport",
}


class _OwnTransports:
    """A mixin over kombu's connections: URLs mean our transports, after a switch of hosts too."""

    resolve_aliases = {own: scheme for scheme, own in OWN_TRANSPORTS.items()}  # noqa: RUF012 (kombu's)
    # Each queue has its own limit of unacknowledged messages. Celery would ask a RabbitMQ before 4.0 for one
    # over all of them, which a quorum queue refuses.
    qos_semantics_matches_spec = True

    def info(self) -> dict[str, Any]:
        """Return what it is, as a worker tells who asks (`celery inspect stats`): no password in a URL."""
        known: dict[str, Any] = super().info()  # type: ignore[misc]
        return known | {
            "hostname": mask_url(known["hostname"] or ""),
            "alternates": [mask_url(url) for url in known["alternates"]],
            "transport_options": {},
        }

    def _init_params(self, *args: Any, **params: Any) -> None:
        connection: Any = self
        super()._init_params(*args, **params)  # type: ignore[misc]
        connection.transport_cls = OWN_TRANSPORTS.get(connection.transport_cls, connection.transport_cls)


class OwnPooledConnection(_OwnTransports, PooledConnection):
    """A connection of a pool."""


class OwnPool(ConnectionPool):
    """A pool of such connections."""

    def new(self) -> Any:
        """Return one more."""
        return OwnPooledConnection(self, **dict(self.connection._info(resolve=False)))


class OwnConnection(_OwnTransports, Connection):
    """A connection by itself."""

    def Pool(self, limit: Any = None, **options: Any) -> OwnPool:  # noqa: N802 (kombu's name)
        """Return a pool of connections like this one."""
        return OwnPool(self, limit=limit, **options)


class OwnAmqp(AMQP):
    """What Celery sends and receives by."""

    Connection = OwnConnection


class OwnMailbox(Mailbox):
    """Remote control, whose queues' names begin as those of its exchanges do: with the prefix."""

    reply_exchange_fmt = "%s.pidbox.reply"

    def get_queue(self, hostname: str) -> Queue:
        """Return the queue of a worker."""
        return _renamed(super().get_queue(hostname), f"{self.namespace}.pidbox.{hostname}")

    def get_reply_queue(self) -> Queue:
        """Return the queue that answers come to."""
        return _renamed(super().get_reply_queue(), f"{self.namespace}.pidbox.reply.{self.oid}")


class OwnControl(Control):
    """Remote control of our workers alone."""

    Mailbox = OwnMailbox


class OwnCelery(Celery):
    """Celery with all of this, on the broker of our settings alone and without results.

    Celery itself would let CELERY_BROKER_URL and its like win, which others may have set for their own.
    """

    amqp_cls = "worker.celery_broker:OwnAmqp"
    control_cls = "worker.celery_broker:OwnControl"
    backend_cls = "disabled://"

    @cached_property
    def Worker(self) -> Any:  # noqa: N802 (Celery's name)
        """Celery's worker as a program."""
        program: Any = "worker.celery_output:QuietWorker"
        return self.subclass_with_self(program)

    @cached_property
    def Beat(self, **_: Any) -> Any:  # noqa: N802 (Celery's name)
        """Celery's beat as a program."""
        program: Any = "worker.celery_output:QuietBeat"
        return self.subclass_with_self(program)

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        """Return a connection to receive by."""
        return super().connection_for_read(url or self.conf["broker_url"], **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        """Return a connection to send by."""
        return super().connection_for_write(url or self.conf["broker_url"], **options)

    def connection(self, hostname: str | None = None, *args: Any, **options: Any) -> Any:
        """Return a connection."""
        return super().connection(hostname or self.conf["broker_url"], *args, **options)


def _renamed(queue: Queue, name: str) -> Queue:
    queue.name = name
    return queue
