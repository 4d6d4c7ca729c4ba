"""The Redis client: made from a URL with timeouts and retries; Redis's errors are translated into ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import Redis
from redis import exceptions as redis_errors
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from worker.config.urls import redis_options
from worker.errors import Fault, InvalidSettings, StoreUnavailable
from worker.redis.cluster import connect_cluster
from worker.redis.connection import renewed
from worker.redis.sentinel import connect_sentinel

__all__ = [
    "SOCKET_OPTIONS",
    "Client",
    "NoPermissionError",
    "OutOfMemoryError",
    "connect",
    "explain_error",
    "is_refusal",
    "make_retry",
    "no_retry",
    "translate_errors",
]

Client = Redis
NoPermissionError = redis_errors.NoPermissionError
OutOfMemoryError = redis_errors.OutOfMemoryError

# Without these, a client waits for ever for a server that hangs or whose machine is gone.
SOCKET_OPTIONS: Final = {
    "socket_keepalive": True,
    "socket_connect_timeout": 5.0,
    "socket_timeout": 10.0,
    "health_check_interval": 10,
}
# A socket file has no network between.
LOCAL_OPTIONS: Final = {name: SOCKET_OPTIONS[name] for name in ("socket_timeout", "health_check_interval")}
# What the server's words mean to whoever runs it; the first that is found in the error's kind and text holds.
ADVICE: Final = {
    "MovedError": "it is a node of a cluster; write redis+cluster:// instead of redis://",
    "AskError": "it is a node of a cluster; write redis+cluster:// instead of redis://",
    "TryAgainError": "a slot of the cluster is on its way to another node",
    "TTL exhausted": "a slot of the cluster is on its way to another node",
    "MasterDownError": "it is a replica without a master",
    "ClusterDownError": "the cluster has a slot that nobody serves",
    "ReadOnlyError": "it is a replica; the URL must lead to the master",
    "BusyLoadingError": "it is loading its data",
    "NoPermissionError": "its user lacks a right; it needs ~PREFIX* and +@all",
    "AuthenticationError": "user and password in the URL are not those of the server",
    "DB index is out of range": "it has no such database; name another in the URL",
    "max number of clients": "it has no room for another connection; raise maxclients",
    "BUSY ": "a script runs too long; if it does not end, SCRIPT KILL ends it",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "too few replicas keep up",
    "unknown command": "it lacks a command that is needed, or has renamed it",
}


def connect(url: str) -> Client:
    """Return a client for a `redis`, `rediss`, `unix`, `redis+cluster` or `redis+sentinel` URL.

    The last two name several hosts (see `MultiHostUrl`). The client connects at its first command, belongs to
    the process that made it, and repeats a command whose answer was lost (R1). Raises InvalidSettings for a
    URL that cannot be used.
    """
    scheme, options = url.partition("://")[0], {**SOCKET_OPTIONS, "retry": make_retry()}
    try:
        if scheme == "redis+cluster":
            return connect_cluster(url, options)
        if scheme == "redis+sentinel":
            return connect_sentinel(url.partition("?")[0], {**options, **redis_options(url)})
        if scheme == "unix":
            options = {**LOCAL_OPTIONS, "retry": make_retry()}
        client = Redis.from_url(url.partition("?")[0], **{**options, **redis_options(url)})
    except ValueError as error:
        raise InvalidSettings([Fault("RELATIONS_REDIS_URL", f"cannot be used: {error}")]) from None
    pool = client.connection_pool
    pool.connection_class = renewed(pool.connection_class)
    return client


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise StoreUnavailable, with the server's reason and what it means, for every error of Redis."""
    try:
        yield
    # The second is raised when no node answers or a slot has none; it is no subclass of the first.
    except (redis_errors.RedisError, redis_errors.RedisClusterException) as error:
        raise StoreUnavailable(f"Redis cannot be used: {explain_error(error)}") from error


def is_refusal(error: StoreUnavailable) -> bool:
    """Whether the server answers, and does not do what it was asked: without a right, or under that name."""
    return isinstance(error.__cause__, redis_errors.ResponseError)


def explain_error(error: Exception) -> str:
    """Return the error's own words, and what they mean where that is known."""
    words = f"{' '.join(kind.__name__ for kind in type(error).__mro__)} {error}"
    advice = next((meaning for sign, meaning in ADVICE.items() if sign in words), "")
    return f"{error} ({advice})" if advice else str(error) or type(error).__name__


def make_retry() -> Retry:
    """Return how a client tries again when its connection is lost."""
    # Only lost connections are retried: a server that hangs would cost three more times ten seconds, for the
    # connection and for the command, 160 in all.
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5)
    return Retry(backoff, retries=3, supported_errors=(redis_errors.ConnectionError,))


def no_retry() -> Retry:
    """Return how a client that waits for messages tries again: not at all, its caller does."""
    return Retry(NoBackoff(), retries=0)
