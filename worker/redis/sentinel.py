"""A master behind Redis Sentinel: the client asks the sentinels where the master is whenever it connects."""

from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from worker.config.urls import MultiHostUrl, is_encrypted
from worker.redis.connection import RenewedConnection

SENTINEL_PORT = 26379
SENTINEL_TIMEOUT = 5.0  # seconds, and less where the URL says so


def connect_sentinel(url: str, options: Mapping[str, Any]) -> Redis:
    """Return a client of the master that the URL's service names."""
    service = MultiHostUrl.parse(url, default_port=SENTINEL_PORT)
    own, of_sentinels = split_options(url, options)
    make_sentinel: Any = Sentinel
    sentinel = make_sentinel(list(service.hosts), sentinel_kwargs=of_sentinels)
    client: Redis = sentinel.master_for(
        service.service,
        connection_class=EncryptedSentinelConnection if is_encrypted(url) else SentinelConnection,
        username=service.username,
        password=service.password,
        db=service.database,
        **own,
    )
    return client


def split_options(url: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of connections to the master, and those of connections to the sentinels."""
    own = {name: value for name, value in options.items() if not name.startswith("sentinel_")}
    of_sentinels = {
        name: value for name, value in options.items() if name.startswith(("ssl_", "socket_connect_timeout"))
    }
    # redis-py would ask one whose machine is gone eleven times, for a minute, while the next one knows.
    of_sentinels["retry"] = Retry(NoBackoff(), 0)
    of_sentinels["socket_timeout"] = min(SENTINEL_TIMEOUT, options.get("socket_timeout", SENTINEL_TIMEOUT))
    for name in ("username", "password"):
        if value := options.get(f"sentinel_{name}"):
            of_sentinels[name] = value
    if is_encrypted(url):
        of_sentinels["ssl"] = True
    return own, of_sentinels


class SentinelConnection(RenewedConnection, SentinelManagedConnection):
    """A connection to a Sentinel's master that is closed when an answer does not come.

    redis-py 8.1 keeps it open, to a master that hangs and was replaced long ago, and would take the late
    answer for the next command's.
    """

    def read_response(self, *args: Any, disconnect_on_error: bool | None = True, **options: Any) -> Any:
        """Read the next answer, and close the connection on an error."""
        return super().read_response(*args, disconnect_on_error=disconnect_on_error, **options)


class EncryptedSentinelConnection(SentinelConnection, SentinelManagedSSLConnection):
    """A connection to a Sentinel's master over TLS, closed when an answer does not come."""
