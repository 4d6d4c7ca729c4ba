"""One deadline over everything a request does on the network: connect, TLS, send, and every read.

httpx's timeouts start anew at every read, so a server that drips a byte a second would hold a worker for ever; here every
step gets only what is left. Not covered: the system's name resolution, which cannot be interrupted.
"""

import socket
import ssl
import time
from collections.abc import Iterable
from functools import cache
from typing import Any

import httpcore
import httpx

# Below the 5 seconds after which common web servers close an idle connection: a request that meets the closing end in doubt.
_KEEPALIVE = 4.0
_PIECE = 16 * 1024  # one TLS record: a larger write would count its timeout anew for every record


class Deadline:
    """The instant by which everything must be over; shared by a client and the connection it keeps."""

    def __init__(self) -> None:
        self._at = 0.0

    def start(self, seconds: float) -> None:
        """Begin to count."""
        self._at = time.monotonic() + seconds

    def left(self, error: type[Exception], *, at_most: float | None = None) -> float:
        """The seconds left, more than zero; raises `error` when there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise error("the request's time is up")
        return left if at_most is None else min(left, at_most)


class DeadlineTransport(httpx.HTTPTransport):
    """An httpx transport with one verified HTTP/1.1 connection that obeys a deadline beside httpx's timeouts."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(verify=_tls(), http2=False)
        # httpx lets nobody hand a network backend to its pool, so the pool is put in its place; httpcore's side of it is public.
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(),
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=_KEEPALIVE,
            http2=False,
            network_backend=_Backend(deadline),
        )


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _Backend(httpcore.NetworkBackend):
    def __init__(self, deadline: Deadline) -> None:
        self._deadline, self._sockets = deadline, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address that answers; each address gets an equal share of the time left."""
        addresses = _addresses(host, port)
        failure: Exception = httpcore.ConnectError("the host name has no address")
        for turn, address in enumerate(addresses):
            share = self._deadline.left(httpcore.ConnectTimeout, at_most=timeout) / (len(addresses) - turn)
            try:
                return _Stream(
                    self._sockets.connect_tcp(address, port, share, local_address, socket_options),
                    self._deadline,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that no name can have
        raise httpcore.ConnectError(f"cannot resolve the host name: {error}") from error
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(
            max_bytes, timeout=self._deadline.left(httpcore.ReadTimeout, at_most=timeout)
        )

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            self._stream.write(
                buffer[start : start + _PIECE],
                timeout=self._deadline.left(httpcore.WriteTimeout, at_most=timeout),
            )

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(httpcore.ConnectTimeout, at_most=timeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout=left), self._deadline)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
