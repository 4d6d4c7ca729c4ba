"""The Redis server as both adapters on it need it: a client from a URL, scripts from files, and its faults in our words.

Knows no keys; those of the store are in `store/keys.py`, the limiter's in `limiter/redis.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from redis import Redis, RedisCluster
from redis import exceptions as faults
from redis.backoff import ExponentialWithJitterBackoff
from redis.commands.core import Script
from redis.retry import Retry
from redis.sentinel import Sentinel

from worker.errors import Fault, InvalidSettings, StoreUnavailable

__all__ = ["Client", "Script", "Sentinels", "available", "connect", "script"]

Client = Redis
AWAY: Final = (faults.ConnectionError, faults.TimeoutError, faults.ReadOnlyError, faults.OutOfMemoryError, faults.ClusterError)
FULL: Final = ("OOM", "MISCONF", "LOADING", "NOREPLICAS")


def connect(url: str) -> Client:
    """A client for the URL: `redis`, `rediss`, `unix`, `redis+cluster://host:port`, `redis+sentinel://host:port,host:port/service/db`.

    It connects at its first command, belongs to the process that made it, and retries a lost answer (R1).
    """
    scheme, options = url.partition("://")[0], _options()
    try:
        if scheme == "redis+cluster":
            # One script touches one slot, so a cluster client stands in for a plain one wherever we use it.
            return RedisCluster.from_url(url.replace("redis+cluster", "redis", 1), **options)  # type: ignore[return-value]
        if scheme == "redis+sentinel":
            return _sentinel(url, options)
        return Redis.from_url(url, **options)
    except ValueError as error:
        raise InvalidSettings([Fault("RELATIONS_REDIS_URL", f"cannot be used: {error}")]) from None


def script(client: Client, package: str, name: str, *shared: str) -> Script:
    """The script `lua/<name>.lua` of a package, with the shared parts put behind its first line."""
    folder = files(package).joinpath("lua")
    head, _, body = folder.joinpath(f"{name}.lua").read_text().partition("\n")
    parts = [head, *(folder.joinpath(f"_{part}.lua").read_text() for part in shared), body]
    return client.register_script("\n".join(parts))


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
        "socket_keepalive": True,
        "socket_connect_timeout": 5.0,
        "socket_timeout": 10.0,
        "health_check_interval": 10,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), retries=3),
    }


class Sentinels(NamedTuple):
    """What a `redis+sentinel` URL says: who to ask, for which service, and how to get in there."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int
    username: str | None
    password: str | None

    @classmethod
    def of(cls, url: str) -> "Sentinels":
        """Read it; raises ValueError."""
        parts = urlsplit(url)
        service, _, database = parts.path.strip("/").partition("/")
        pairs = (pair.partition(":") for pair in parts.netloc.rpartition("@")[2].split(","))
        hosts = tuple((host, int(port or 26379)) for host, _, port in pairs)
        return cls(hosts, service or "mymaster", int(database or 0), parts.username, parts.password)


def _sentinel(url: str, options: dict[str, Any]) -> Client:
    asked = Sentinels.of(url)
    sentinel: Any = Sentinel(list(asked.hosts), socket_timeout=5.0)  # type: ignore[no-untyped-call]
    access = {"username": asked.username, "password": asked.password, "db": asked.database}
    client: Client = sentinel.master_for(asked.service, **options, **access)
    return client
