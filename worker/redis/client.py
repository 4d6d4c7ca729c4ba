"""The Redis client: made from a URL with timeouts and retries; Redis's errors are translated into ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import Redis
from redis import exceptions as redis_errors
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from worker.errors import Fault, InvalidSettings, StoreUnavailable
from worker.redis.cluster import connect_cluster
from worker.redis.sentinel import connect_sentinel

__all__ = ["SOCKET_OPTIONS", "Client", "NoPermissionError", "OutOfMemoryError", "connect", "translate_errors"]

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
UNAVAILABLE: Final = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.OutOfMemoryError,
    redis_errors.ClusterError,
    # Raised when no node answers or a slot has none; it is no subclass of redis-py's RedisError.
    redis_errors.RedisClusterException,
)
UNAVAILABLE_REPLIES: Final = ("OOM", "MISCONF", "LOADING", "NOREPLICAS")


def connect(url: str) -> Client:
    """Return a client for a `redis`, `rediss`, `unix`, `redis+cluster` or `redis+sentinel` URL.

    The last two name several hosts (see `MultiHostUrl`). The client connects at its first command, belongs to
    the process that made it, and repeats a command whose answer was lost (R1). Raises InvalidSettings for a
    URL that cannot be used.
    """
    scheme, options = url.partition("://")[0], {**SOCKET_OPTIONS, "retry": _retry()}
    try:
        if scheme == "redis+cluster":
            return connect_cluster(url, options)
        if scheme == "redis+sentinel":
            return connect_sentinel(url, options)
        return Redis.from_url(url, **options)
    except ValueError as error:
        raise InvalidSettings([Fault("RELATIONS_REDIS_URL", f"cannot be used: {error}")]) from None


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise StoreUnavailable when Redis is away, read-only, loading or full.

    Other errors, such as those of a faulty script, pass through.
    """
    try:
        yield
    except UNAVAILABLE as error:
        raise StoreUnavailable(f"Redis cannot be used: {error}") from error
    except redis_errors.ResponseError as error:
        if str(error).startswith(UNAVAILABLE_REPLIES):
            raise StoreUnavailable(f"Redis cannot be used: {error}") from error
        raise


def _retry() -> Retry:
    # Only lost connections are retried: a server that hangs would cost three more times ten seconds, for the
    # connection and for the command, 160 in all.
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5)
    return Retry(backoff, retries=3, supported_errors=(redis_errors.ConnectionError,))
