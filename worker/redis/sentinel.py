"""A master behind Redis Sentinel: the client asks the sentinels where the master is whenever it connects."""

from typing import Any

from redis import Redis
from redis.sentinel import Sentinel, SentinelManagedConnection

from worker.redis.connection import RenewedConnection
from worker.redis.urls import MultiHostUrl

SENTINEL_PORT = 26379
SENTINEL_TIMEOUT = 5.0  # seconds, and less where the URL says so


def connect_sentinel(url: str, options: dict[str, Any]) -> Redis:
    """Return a client of the master that the URL's service names."""
    service = MultiHostUrl.parse(url, default_port=SENTINEL_PORT)
    timeout = min(SENTINEL_TIMEOUT, options.get("socket_timeout", SENTINEL_TIMEOUT))
    sentinel: Any = Sentinel(list(service.hosts), socket_timeout=timeout)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(
        service.service,
        connection_class=SentinelConnection,
        username=service.username,
        password=service.password,
        db=service.database,
        **options,
    )
    return client


class SentinelConnection(RenewedConnection, SentinelManagedConnection):
    """A connection to a Sentinel's master that is closed when an answer does not come.

    redis-py 8.1 keeps it open, to a master that hangs and was replaced long ago, and would take the late
    answer for the next command's.
    """

    def read_response(self, *args: Any, disconnect_on_error: bool | None = True, **options: Any) -> Any:
        """Read the next answer, and close the connection on an error."""
        return super().read_response(*args, disconnect_on_error=disconnect_on_error, **options)
