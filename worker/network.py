"""What every client of ours that speaks HTTP needs: one deadline for all of a request, and times in headers.

The deadline is over everything a request does on the network: connect, TLS, send, and every read. Usual
timeouts start again at every read, so a server that drips a byte a second would hold a worker for ever; here
every step gets only what is left. Not covered: the system's name resolution, which cannot be interrupted.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from typing import Any, Final

import httpcore
import httpx

# Below the 5 seconds after which common web servers close an idle connection: a request that meets the
# closing end in doubt.
KEEPALIVE = 4.0
WRITE_SIZE = 16 * 1024  # one TLS record: a larger write would start its timeout again for every record


class Deadline(threading.local):
    """The instant by which everything must be over; shared by a client and the connections it keeps.

    Each thread has its own: a request is the work of one thread.
    """

    def __init__(self) -> None:
        self._at = 0.0

    def start(self, seconds: float) -> None:
        """Begin to count."""
        self._at = time.monotonic() + seconds

    def remaining(self, error: type[Exception], *, at_most: float | None = None) -> float:
        """Return the seconds left, more than zero; raise `error` when there are none."""
        seconds = self._at - time.monotonic()
        if seconds <= 0:
            raise error("the request's time is up")
        return seconds if at_most is None else min(seconds, at_most)


def find_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host, each once, in the system's order; raises httpcore.ConnectError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that no name can have
        raise httpcore.ConnectError(f"cannot resolve the host name: {error}") from error
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def connection_pool(
    deadline: Deadline,
    connections: int,
    proxy: str = "",
    resolve: Callable[[str, int], list[str]] = find_addresses,
) -> httpcore.ConnectionPool:
    """Return a pool of so many verified HTTP/1.1 connections that obey the deadline.

    By a proxy, they go through tunnels that the proxy cannot look into. `resolve` says to which addresses of
    a host and port a connection may go; it is asked once for each.
    """
    return httpcore.ConnectionPool(
        ssl_context=_tls(),
        proxy=_read_proxy(proxy) if proxy else None,
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=KEEPALIVE,
        network_backend=_DeadlineBackend(deadline, resolve),
    )


def core_url(url: httpx.URL) -> httpcore.URL:
    """Return the URL as a pool takes it."""
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _read_proxy(text: str) -> httpcore.Proxy:
    """Return the proxy of a URL, whose user and password go into a header of their own."""
    proxy = httpx.Proxy(text)
    url = core_url(proxy.url)
    return httpcore.Proxy(url, auth=proxy.raw_auth, ssl_context=_tls() if url.scheme == b"https" else None)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self, deadline: Deadline, resolve: Callable[[str, int], list[str]]) -> None:
        self._deadline, self._resolve, self._sockets = deadline, resolve, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers; each address gets an equal share of the time left."""
        addresses = self._resolve(host, port)
        failure: Exception = httpcore.ConnectError("the host name has no address")
        for tried, address in enumerate(addresses):
            share = self._deadline.remaining(httpcore.ConnectTimeout, at_most=timeout) / (
                len(addresses) - tried
            )
            try:
                stream = self._sockets.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, self._deadline)
        raise failure


class _DeadlineStream(httpcore.NetworkStream):
    """A connection that obeys the deadline; head and body of a request leave together."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline, self._unsent = stream, deadline, b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            # Some servers answer before they have read all, and close: the answer counts.
            with suppress(httpcore.WriteError):
                self._send(timeout)
        return self._stream.read(
            max_bytes, timeout=self._deadline.remaining(httpcore.ReadTimeout, at_most=timeout)
        )

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._unsent += buffer  # until the answer is to be read

    def _send(self, timeout: float | None) -> None:
        unsent, self._unsent = self._unsent, b""
        for start in range(0, len(unsent), WRITE_SIZE):
            piece = unsent[start : start + WRITE_SIZE]
            self._stream.write(
                piece, timeout=self._deadline.remaining(httpcore.WriteTimeout, at_most=timeout)
            )

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = self._deadline.remaining(httpcore.ConnectTimeout, at_most=timeout)
        return _DeadlineStream(
            self._stream.start_tls(ssl_context, server_hostname, timeout=seconds), self._deadline
        )

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._unsent:
            return True  # an answer was there before its request left: as used up as one that was closed
        return self._stream.get_extra_info(info)


# --- headers: what our requests say of us, and the times of an answer; one that cannot be read is None

LONGEST_WAIT: Final = 86_400.0  # seconds that a `Retry-After` is kept to
SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?")  # some write a fraction, which the standard does not have


@cache
def user_agent() -> str:
    """Return how our requests introduce themselves: the program, and its version."""
    return f"onoffice-relations/{version('onoffice-relations')}"


def http_date(text: str | None) -> float | None:
    """Return the Unix time of an HTTP date."""
    try:
        date = parsedate_to_datetime(text or "")
        # "-0000" parses as a naive time, which would be read in this machine's zone.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds that an answer asks to wait, from either form of `Retry-After`; at most a day.

    A date is compared with that of the answer, so that no clock but its server's counts; with `now` where it
    has none.
    """
    value = headers.get("Retry-After", "").strip()
    if SECONDS.fullmatch(value):
        return min(float(value), LONGEST_WAIT)
    until = http_date(value)
    if until is None:
        return None
    date = http_date(headers.get("Date"))
    return min(max(0.0, until - (now if date is None else date)), LONGEST_WAIT)
