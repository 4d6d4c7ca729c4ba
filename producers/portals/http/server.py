"""The HTTP server: uvicorn on a socket of ours, with an orderly end, and a limit for its connections.

Nothing here knows what is served.
"""

import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from operator import itemgetter
from types import TracebackType
from typing import Any, Final, Self, cast

import uvicorn
from starlette.applications import Starlette

from producers.errors import cannot_listen
from producers.portals.http.connection import BoundedProtocol
from producers.portals.http.middleware import PROXIES_VARIABLE, ForwardedMiddleware, read_proxies

# That requests may take to end when the server stops; wake-ups that wait are sent after it, and its
# supervisor kills the process after 15 s.
SHUTDOWN_SECONDS: Final = 10
# That a connection may be kept between requests: longer than proxies keep theirs (nginx and AWS 60 s), or one
# of them sends a request on a connection that is being closed, and its client gets a 502.
KEEP_ALIVE_SECONDS: Final = 75.0
NO_OTHERS: Final[Mapping[str, float]] = {}
BACKLOG: Final = 256  # connections that wait to be taken, and that are taken at once
MAX_CONNECTIONS: Final = 4096
LEAST_CONNECTIONS: Final = 16
# Open files that are no connections of clients (Redis, logs, libraries), and those that are taken at once,
# before they are counted.
RESERVED_FILES: Final = 128 + BACKLOG
MAX_FILES: Final = 65_536


class Server:
    """The application on a socket that is open from the start: `port` is known, connections wait for `run`.

    `run` serves until SIGINT or SIGTERM in the main thread, or `stop` from anywhere. As a context manager it
    serves from a thread. `bounds` replaces those of `BoundedProtocol`, for tests. Raises CannotStart if it
    cannot listen there, and InvalidSettings if nobody can be who is to be believed.
    """

    def __init__(
        self,
        app: Starlette,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        keep_alive: float = KEEP_ALIVE_SECONDS,
        root_path: str = "",
        bounds: Mapping[str, float] = NO_OTHERS,
    ) -> None:
        proxies = read_proxies(os.environ.get(PROXIES_VARIABLE, ""))
        try:
            self._socket = listen(host, port)
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        # A response is two small writes, which Nagle's algorithm would keep 40 ms apart.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._server = server = GracefulServer(
            _uvicorn_config(
                ForwardedMiddleware(app, proxies, root_path=root_path, emit=app.state.emit),
                keep_alive,
                {"max_connections": connection_limit(), **bounds},
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


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address, or at the first of a name: of version 4, if it has one.

    `::` is every address of both versions, and nothing every one of version 4. Raises OSError.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:  # a host with two dots, or a part that is too long
        raise socket.gaierror(socket.EAI_NONAME, "no host has such a name") from error
    family, *_, address = min(found, key=itemgetter(0))  # AF_INET is less than AF_INET6
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)


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


def _uvicorn_config(app: Any, keep_alive: float, bounds: Mapping[str, float]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=type("Protocol", (BoundedProtocol,), dict(bounds)),
        log_config=None,
        log_level="error",  # it warns of each request that is no HTTP: a flood of them would fill the disk
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `middleware` reads more of them
        lifespan="off",
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=cast(int, keep_alive),  # any number will do
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
