"""The Redis server as both adapters on it need it: a client from a URL, scripts from files, and its faults in our words.

A broker's URL is turned into kombu's words here too, because it is written like the store's. Knows no keys: those of the
store are in `store/keys.py`, the limiter's in `limiter/redis.py`.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from hashlib import sha1
from importlib.resources import files
from itertools import chain
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote, unquote, urlsplit

from redis import Redis, RedisCluster
from redis import exceptions as faults
from redis.backoff import ExponentialWithJitterBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection

from worker.errors import Fault, InvalidSettings, StoreUnavailable

__all__ = ["AMQP", "Client", "Full", "Managed", "Script", "available", "broker", "connect", "script"]

Client = Redis
Full = faults.OutOfMemoryError
AWAY: Final = (
    faults.ConnectionError,
    faults.TimeoutError,
    faults.ReadOnlyError,
    faults.OutOfMemoryError,
    faults.ClusterError,
    faults.RedisClusterException,  # no node answers, or a slot has none; not one of the client's own RedisErrors
)
AMQP: Final = ("amqp://", "amqps://")
SENTINEL: Final = ("redis+sentinel://", "sentinel://")
AHEAD: Final = 3  # calls on their way at once
REST: Final = 20.0  # seconds that a silent node of a cluster is left alone
# Or it is waited for ever for a server that hangs, or whose machine is gone.
TIMES: Final = {
    "socket_keepalive": True,
    "socket_connect_timeout": 5.0,
    "socket_timeout": 10.0,
    "health_check_interval": 10,
}
FULL: Final = ("OOM", "MISCONF", "LOADING", "NOREPLICAS")


def connect(url: str) -> Client:
    """A client for the URL: `redis`, `rediss`, `unix`, or `redis+cluster` and `redis+sentinel` with several hosts (`Several`).

    It connects at its first command, belongs to the process that made it, and retries a lost answer (R1).
    """
    scheme, options = url.partition("://")[0], _options()
    try:
        if scheme == "redis+cluster":
            return _cluster(Several.of(url, port=6379), options)
        if scheme == "redis+sentinel":
            return _sentinel(Several.of(url, port=26379), options)
        return Redis.from_url(url, **options)
    except ValueError as error:
        raise InvalidSettings([Fault("RELATIONS_REDIS_URL", f"cannot be used: {error}")]) from None


def broker(url: str) -> tuple[str, dict[str, Any]]:
    """The URL in kombu's words, and the options of its transport that belong to it: it has its own for Sentinel and for a socket."""
    if url.startswith(AMQP):
        return url, {"confirm_publish": True}  # a message counts as sent when the broker has it on disk
    if url.startswith("unix://"):
        return url.replace("unix://", "redis+socket://", 1), {**TIMES}
    if not url.startswith(SENTINEL):
        return url, {**TIMES}
    asked = Several.of(url, port=26379)
    access = f"{quote(asked.username or '')}:{quote(asked.password, safe='')}@" if asked.password else ""
    hosts = ";".join(f"sentinel://{access}{host}:{port}/{asked.database}" for host, port in asked.hosts)
    return hosts, {**TIMES, "master_name": asked.service}


class Call(NamedTuple):
    """A script's keys and arguments."""

    keys: Sequence[str]
    args: Sequence[str | bytes | float]


class Script:
    """A Lua script, called with its keys and arguments; a server that does not know it is sent the text with the call.

    The text goes to the one server that has the keys. To load it first would take every node of a cluster, and one may be dead.
    """

    def __init__(self, client: Client, text: str) -> None:
        self._client: Any = client
        self._text, self._digest = text, sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, *, keys: Sequence[str], args: Sequence[str | bytes | float]) -> Any:
        """What it answers."""
        try:
            return self._client.evalsha(self._digest, len(keys), *keys, *args)
        except faults.NoScriptError:
            return self._client.eval(self._text, len(keys), *keys, *args)

    def each(self, calls: Iterable[Call]) -> Iterator[Any]:
        """The answers in order; the next call is on its way while the server carries out the one before.

        What was on its way when the connection broke is called again, so the script has to be one that may run twice.
        """
        calls, sent = iter(calls), deque[Call]()
        if isinstance(self._client, Redis):  # a cluster's client has a connection per node
            with suppress(faults.ConnectionError, faults.TimeoutError):
                with suppress(faults.NoScriptError):
                    yield from self._ahead(calls, sent)
                while sent:  # one by one, which brings the server the script
                    yield self(keys=sent[0].keys, args=sent[0].args)
                    sent.popleft()
                yield from self._ahead(calls, sent)
        yield from (self(keys=call.keys, args=call.args) for call in chain(sent, calls))

    def _ahead(self, calls: Iterator[Call], sent: deque[Call]) -> Iterator[Any]:
        """The answers over a connection of its own; `sent` holds the calls without one."""
        pool = self._client.connection_pool
        line = pool.get_connection()
        try:
            for call in calls:
                sent.append(call)
                line.send_command("EVALSHA", self._digest, len(call.keys), *call.keys, *call.args)
                if len(sent) == AHEAD:
                    yield self._answer(line, sent)
            while sent:
                yield self._answer(line, sent)
        finally:
            if sent:
                line.disconnect()  # or the answers to these would be taken for those to others
            pool.release(line)

    @staticmethod
    def _answer(line: Any, sent: deque[Call]) -> Any:
        answer = line.read_response()
        sent.popleft()
        return answer


def script(client: Client, package: str, name: str, *shared: str) -> Script:
    """The script `lua/<name>.lua` of a package, with the shared parts put behind its first line."""
    folder = files(package).joinpath("lua")
    head, _, body = folder.joinpath(f"{name}.lua").read_text().partition("\n")
    parts = [head, *(folder.joinpath(f"_{part}.lua").read_text() for part in shared), body]
    return Script(client, "\n".join(parts))


@contextmanager
def available() -> Iterator[None]:
    """Lets Redis being away, read-only, loading or full come out as `StoreUnavailable`; scripts that are wrong stay loud."""
    try:
        yield
    except AWAY as error:
        raise StoreUnavailable(f"Redis cannot be used: {error}") from error
    except faults.ResponseError as error:
        if str(error).startswith(FULL):
            raise StoreUnavailable(f"Redis cannot be used: {error}") from error
        raise


def _options() -> dict[str, Any]:
    return {
        **TIMES,
        # A server that hangs is not asked again: three more times of ten seconds, for the connection and for the command, are 160.
        "retry": Retry(
            ExponentialWithJitterBackoff(base=0.05, cap=0.5),
            retries=3,
            supported_errors=(faults.ConnectionError,),
        ),
    }


class Several(NamedTuple):
    """What a URL with several hosts says: `…://user:password@host:port,host:port/service/database`, the last two of a Sentinel only."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int
    username: str | None
    password: str | None

    @classmethod
    def of(cls, url: str, *, port: int) -> "Several":
        """Read it, with `port` where it names none; raises ValueError."""
        parts = urlsplit(url)
        service, _, database = parts.path.strip("/").partition("/")
        pairs = (
            pair.rpartition(":") if ":" in pair else (pair, "", port)
            for pair in parts.netloc.rpartition("@")[2].split(",")
        )
        hosts = tuple((host.strip("[]"), int(number)) for host, _, number in pairs)
        access = (unquote(word) if word else None for word in (parts.username, parts.password))
        return cls(hosts, service or "mymaster", int(database or 0), *access)


class Managed(SentinelManagedConnection):
    """A connection to a Sentinel's master that ends with an answer that did not come.

    redis-py keeps it open (8.1), to a master that hangs and was replaced long ago, and would give the late answer to the next command.
    """

    def read_response(self, *args: Any, disconnect_on_error: bool | None = True, **options: Any) -> Any:
        """The next answer."""
        return super().read_response(*args, disconnect_on_error=disconnect_on_error, **options)


class Nodes(RedisCluster):
    """A cluster's client that asks a silent node once in a while, not again and again: other nodes' accounts would wait for it too."""

    def __init__(self, **options: Any) -> None:
        self._silent = dict[str, float]()
        super().__init__(**options)

    def _execute_command(self, target_node: ClusterNode, *args: Any, **options: Any) -> Any:
        name = target_node.name
        if time.monotonic() < self._silent.get(name, 0.0):
            raise faults.TimeoutError(f"{name} did not answer a moment ago")
        try:
            return super()._execute_command(target_node, *args, **options)  # type: ignore[no-untyped-call]
        except faults.TimeoutError:
            self._silent[name] = time.monotonic() + REST
            raise


class _Late:
    """A cluster's client, made when first used: making it asks the nodes who has what, and at our start none may be up yet."""

    def __init__(self, make: Callable[[], RedisCluster]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> RedisCluster:
        return self._make()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)


def _cluster(asked: Several, options: dict[str, Any]) -> Client:
    """One script touches one slot, so a cluster's client stands in for a plain one wherever we use it."""

    def make() -> RedisCluster:
        nodes = [ClusterNode(*host) for host in asked.hosts]  # type: ignore[no-untyped-call]
        # Slots that nobody serves are their accounts' trouble, not everybody's.
        return Nodes(
            startup_nodes=nodes,
            username=asked.username,
            password=asked.password,
            require_full_coverage=False,
            **options,
        )

    return cast(Client, _Late(make))


def _sentinel(asked: Several, options: dict[str, Any]) -> Client:
    sentinel: Any = Sentinel(list(asked.hosts), socket_timeout=5.0)  # type: ignore[no-untyped-call]
    access = {"username": asked.username, "password": asked.password, "db": asked.database}
    client: Client = sentinel.master_for(asked.service, connection_class=Managed, **options, **access)
    return client
