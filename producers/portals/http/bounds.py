"""Bounds on what one connection may cost, and on how many there are; uvicorn itself has none of them."""

import asyncio
import resource
from contextlib import suppress
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from worker.contract import MAX_BODY

MAX_CONNECTIONS: Final = 4096
BACKLOG: Final = 256  # connections that wait to be taken, and that are taken at once
LEAST_CONNECTIONS: Final = 16
# Open files that are no connections of clients (Redis, logs, libraries), and those that are taken at once,
# before they are counted.
RESERVED_FILES: Final = 128 + BACKLOG
MAX_FILES: Final = 65_536
MAX_REQUEST: Final = 2 * MAX_BODY  # bytes of a whole request as they come, with the overhead of chunks
MAX_TRAILERS: Final = 8192  # bytes
MAX_PIPELINED: Final = 16  # requests that wait for the answer to an earlier one
REQUEST_SECONDS: Final = 90.0  # from the first byte of a request to its last, whether or not it was answered
ANSWER_SECONDS: Final = 300.0  # from the last byte of a request to the last of its answer
BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


def connection_limit() -> int:
    """Return how many connections this process may have, after asking the system for room for them.

    Past its limit of open files, asyncio logs a traceback for every connection in the backlog, again and
    again.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(LEAST_CONNECTIONS, min(MAX_CONNECTIONS, soft - RESERVED_FILES))


class BoundedProtocol(HttpToolsProtocol):
    """A connection that ends when it asks for too much, or takes too long for a request or an answer."""

    max_connections: float = MAX_CONNECTIONS
    max_request: float = MAX_REQUEST
    request_seconds: float = REQUEST_SECONDS
    answer_seconds: float = ANSWER_SECONDS
    _deadline: asyncio.TimerHandle | None = None
    _in_head, _is_complete = True, True
    _received, _trailers = 0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or tell it to come again when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.write(BUSY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read the next bytes."""
        self._received += len(data)
        if self._received > self.max_request:
            self._end()
        elif not self.transport.is_closing():
            super().data_received(data)

    def on_message_begin(self) -> None:
        """Expect a whole request."""
        self._in_head, self._is_complete, self._received, self._trailers = True, False, 0, 0
        if self._deadline is None:
            self._wait(self.request_seconds)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes after the body as a trailer is none, and dropped."""
        if self._in_head:
            return super().on_header(name, value)
        self._trailers += len(name) + len(value)
        return self._end() if self._trailers > MAX_TRAILERS else None

    def on_headers_complete(self) -> None:
        """Begin to answer, or let the request wait for its turn."""
        self._in_head = False
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self._end()

    def on_message_complete(self) -> None:
        """Expect the answer."""
        self._is_complete = True
        super().on_message_complete()
        self._wait(self.answer_seconds if self._is_answering() else None)

    def on_response_complete(self) -> None:
        """Expect the rest of the request, or the next one's answer."""
        super().on_response_complete()
        if self._is_complete:
            self._wait(self.answer_seconds if self._is_answering() else None)

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        return bool(cycle and not cycle.response_complete)

    def _wait(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        self._wait(None)
        self.transport.abort()
