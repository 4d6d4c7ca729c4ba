"""Connections that are given up when their server is no longer what the name in the URL stands for.

After a failover behind a name, old connections stay open to a server that takes no writes. Closing one lets
the next ask the name again.
"""

import time
from functools import cache
from typing import Any, Final

import hiredis
from redis.driver_info import DriverInfo
from redis.exceptions import (
    BusyLoadingError,
    DataError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError


class ServerChanged(RedisConnectionError):
    """The server became a replica, or is loading; asked again, the name may lead to another."""


def is_server_changed(error: RedisError) -> bool:
    """Whether the server says that it is not, or not yet, the one to ask."""
    if isinstance(error, ReadOnlyError | BusyLoadingError | MasterDownError):
        return True
    return isinstance(error, ResponseError) and str(error).startswith("UNBLOCKED")


class CommandPacker:
    """Packs commands by hiredis alone.

    redis-py's own packer looks at every argument first, for kinds of buffers that we never send: with a
    thousand arguments that takes four times as long as the packing.
    """

    def pack(self, name: str | bytes, *args: Any) -> list[bytes]:
        """Return a command as it is sent; a name of two words is two arguments."""
        try:
            return [hiredis.pack_command((*name.split(), *args))]
        except TypeError as error:
            raise DataError(str(error)) from None


PACKER: Final = CommandPacker()
DRIVER: Final = DriverInfo()  # redis-py reads its version from a file for each connection that it makes


class RenewedConnection:
    """A mixin over redis-py's connections: it is closed by such an answer, and when it is `max_age` old.

    `max_age` is in seconds; 0 is no limit. Its age is looked at when it is taken from the pool.
    """

    def __init__(self, *args: Any, max_age: float = 0.0, **options: Any) -> None:
        self.max_age, self.connected_at = max_age, 0.0
        super().__init__(*args, **{"command_packer": PACKER, "driver_info": DRIVER, **options})

    @property
    def is_too_old(self) -> bool:
        """Whether it is open, and older than it may be."""
        connection: Any = self
        age = time.monotonic() - self.connected_at
        return bool(self.max_age and connection._sock and age > self.max_age)

    def connect(self) -> None:
        """Connect, also anew in place of a connection that is too old."""
        connection: Any = self
        if self.is_too_old:
            connection.disconnect()
        super().connect()  # type: ignore[misc]

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Note the time, and greet the server."""
        self.connected_at = time.monotonic()
        super().on_connect_check_health(check_health)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read the next answer."""
        connection: Any = self
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except RedisError as error:
            if not is_server_changed(error):
                raise
            connection.disconnect()
            raise ServerChanged(f"{type(error).__name__}: {error}") from error


@cache
def renewed(connection_class: type) -> Any:
    """Return redis-py's class of connections with that behaviour."""
    if issubclass(connection_class, RenewedConnection):
        return connection_class
    return type(connection_class.__name__, (RenewedConnection, connection_class), {})
