"""uvicorn as this interface needs it: it ends in peace, and does not wait for heads that do not come.

Nothing here knows what is served.
"""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

BACKLOG: Final = 2048  # connections that wait to be taken
PARTING: Final = 15  # seconds requests may take to end when the server stops
IDLE: Final = 30  # seconds a connection may be kept between requests
HEAD_SECONDS: Final = 10.0  # seconds a request's head may take to come
HEAD_BYTES: Final = 2**16  # and how long it may be
REFUSALS: Final = {
    408: b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
}


class Uvicorn(uvicorn.Server):
    """Ends in peace: uvicorn's own raises the signal again after the last answer, so that a stopped service looks like a killed one."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the server, where that can be asked for."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Heads(HttpToolsProtocol):
    """A connection whose requests' heads have to come in time and within bounds; uvicorn's own waits for ever and keeps everything."""

    seconds = HEAD_SECONDS
    _timer: asyncio.TimerHandle | None = None
    _read = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is expected from now on."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not complete."""
        super().data_received(data)
        if self._timer:
            self._read += len(data)
            if self._read > HEAD_BYTES:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._arrived()
        super().on_headers_complete()

    def _expect(self) -> None:
        if self._timer is None:
            self._timer, self._read = self.loop.call_later(self.seconds, self._refuse, 408), 0

    def _arrived(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        self._arrived()
        if not self.transport.is_closing():
            self.transport.write(REFUSALS[status])
            self.transport.close()


def configured(app: Any, *, head_seconds: float) -> uvicorn.Config:
    """How the application is served."""
    return uvicorn.Config(
        app,
        http=type("Heads", (Heads,), {"seconds": head_seconds}),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=PARTING,
    )
