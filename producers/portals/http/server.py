"""The HTTP server: uvicorn on a socket of ours, with an orderly end, and with limits for requests' heads.

Nothing here knows what is served.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, cast

import httptools
import uvicorn
from starlette.applications import Starlette

from producers.errors import cannot_listen
from producers.portals.http.bounds import BACKLOG, BoundedProtocol, connection_limit
from producers.portals.http.forwarded import ForwardedMiddleware

SHUTDOWN_SECONDS: Final = 15  # that requests may take to end when the server stops
# That a connection may be kept between requests: longer than proxies keep theirs (nginx and AWS 60 s), or one
# of them sends a request on a connection that is being closed, and its client gets a 502.
KEEP_ALIVE_SECONDS: Final = 75.0
HEAD_SECONDS: Final = 10.0  # that the head of a request may take to come
MAX_HEAD: Final = 2**16  # bytes
UPGRADE_HEADERS: Final = (b"upgrade", b"http2-settings")
NO_OTHERS: Final[Mapping[str, float]] = {}
REFUSALS: Final = {
    408: b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
}


class Server:
    """The application on a socket that is open from the start: `port` is known, connections wait for `run`.

    `run` serves until SIGINT or SIGTERM in the main thread, or `stop` from anywhere. As a context manager it
    serves from a thread. `bounds` replaces those of `BoundedProtocol`, for tests. Raises CannotStart if it
    cannot listen there.
    """

    def __init__(
        self,
        app: Starlette,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        head_seconds: float = HEAD_SECONDS,
        keep_alive: float = KEEP_ALIVE_SECONDS,
        root_path: str = "",
        bounds: Mapping[str, float] = NO_OTHERS,
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        # A response is two small writes, which Nagle's algorithm would keep 40 ms apart.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._server = server = GracefulServer(
            _uvicorn_config(
                _behind_proxies(app, root_path),
                keep_alive,
                {"head_seconds": head_seconds, "max_connections": connection_limit(), **bounds},
            )
        )
        app.state.is_stopping = lambda: server.should_exit
        self._thread = threading.Thread(target=self.run, name="http")

    def run(self) -> None:
        """Serve; requests that have begun are answered before it returns."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Let `run` return, soon."""
        self._server.should_exit = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join()


class GracefulServer(uvicorn.Server):
    """A server after whose end the process goes on.

    uvicorn's own raises the signal again after the last response, so that a stopped service looks killed.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the server, where handlers can be set: in the main thread."""
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


class PlainParser:
    """A parser for which the offer of another protocol, as Java's of HTTP/2, is no reason to drop the body.

    Such a request is read once more, without the offer.
    """

    def __init__(self, protocol: "LimitedHeadProtocol") -> None:
        self._protocol, self._parser = protocol, _make_parser(protocol)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def is_upgraded(self) -> bool:
        """Whether the request that is being read offers another protocol."""
        return bool(self._parser.should_upgrade()) and self._parser.get_method() != b"CONNECT"

    def feed_data(self, data: bytes) -> None:
        """Read the next bytes of the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            if not self.is_upgraded():
                raise
            head = self._protocol.head_without_upgrade(
                self._parser.get_method(), self._parser.get_http_version()
            )
            self._parser = _make_parser(self._protocol)
            self.feed_data(head + data[error.args[0] :])


class LimitedHeadProtocol(BoundedProtocol):
    """A connection with limits for heads; uvicorn's own waits for ever and keeps everything."""

    parser: PlainParser  # type: ignore[assignment]
    head_seconds = HEAD_SECONDS
    _timer: asyncio.TimerHandle | None = None  # runs while a head is incomplete
    _head_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first head from now on."""
        self.parser = PlainParser(self)
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not complete."""
        super().data_received(data)
        if self._timer:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """Expect the rest of a head that begins."""
        super().on_message_begin()
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Note that the head is complete."""
        self._stop_timer()
        if not self.parser.is_upgraded():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body is complete."""
        if not self.parser.is_upgraded():
            super().on_message_complete()

    def head_without_upgrade(self, method: bytes, version: str) -> bytes:
        """Return the head of the request that is being read without its offer of another protocol."""
        lines = [b"%s %s HTTP/%s" % (method, self.url, version.encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in UPGRADE_HEADERS]
        return b"\r\n".join([*lines, b"", b""])

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer, self._head_size = self.loop.call_later(self.head_seconds, self._refuse, 408), 0

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self.transport.write(REFUSALS[status])
            self.transport.close()


def _make_parser(protocol: "LimitedHeadProtocol") -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
    return parser


def _behind_proxies(app: Any, root_path: str) -> ForwardedMiddleware:
    trusted = os.environ.get("FORWARDED_ALLOW_IPS", "")  # the name that uvicorn gives it
    return ForwardedMiddleware(app, trusted, root_path=root_path)


def _uvicorn_config(app: Any, keep_alive: float, bounds: Mapping[str, float]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=type("Protocol", (LimitedHeadProtocol,), dict(bounds)),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `forwarded` reads more of them
        lifespan="off",
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=cast(int, keep_alive),  # any number will do
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
