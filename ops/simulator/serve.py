"""A WSGI application on a socket: a thread per connection, keep-alive, and connections that really drop."""

import os
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from wsgiref.types import WSGIApplication, WSGIEnvironment

from ops.simulator.responses import Dropped
from ops.simulator.simulator import API_PATH

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: closing sends RST


class SimulatorServer:
    """A simulator being served: `url` is the API, `base` the root of the control endpoints."""

    def __init__(self, simulator: WSGIApplication, host: str, port: int) -> None:
        self._tcp = _Tcp((host, port), _Handler)
        self._tcp.application = simulator
        self.port: int = self._tcp.server_address[1]
        self.base = f"http://{host}:{self.port}"
        self.url = self.base + API_PATH
        self._thread = threading.Thread(
            target=self._tcp.serve_forever, kwargs={"poll_interval": 0.05}, name="simulator", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until the server is closed."""
        self._thread.join()

    def close(self) -> None:
        """Free the port and end the connections of all clients."""
        self._tcp.shutdown()
        self._tcp.server_close()
        self._tcp.drop_all()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(simulator: WSGIApplication, host: str = "127.0.0.1", port: int = 0) -> SimulatorServer:
    """Start a server for the simulator; port 0 takes any free one."""
    return SimulatorServer(simulator, host, port)


class _Tcp(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    application: WSGIApplication

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def drop_all(self) -> None:
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # its client closed it first

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that went away; show anything else, which is a bug."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Tcp

    def do_POST(self) -> None:
        if "Content-Length" not in self.headers:
            self.send_error(411)
            return
        self._exchange()

    def do_GET(self) -> None:
        self._exchange()

    def log_message(self, *_: Any) -> None:
        """Write nothing: the simulator keeps its own log."""

    def _exchange(self) -> None:
        try:
            pieces = iter(self.server.application(self._environ(), self._start))
        except Dropped as dropped:
            self._drop(reset=dropped.kind == "lost_before")
            return
        # One segment, so that no client waits for a second one.
        self.wfile.write(self._head + next(pieces, b""))
        for piece in pieces:
            self.wfile.write(piece)

    def _start(self, status: str, headers: list[tuple[str, str]], _: object = None, /) -> Any:
        lines = (f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", "")
        self._head = "\r\n".join(lines).encode("latin-1")

    def _drop(self, *, reset: bool) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            os.close(self.connection.detach())  # past the server's own orderly shutdown
        self.close_connection = True

    def _environ(self) -> WSGIEnvironment:
        path, _, query = self.path.partition("?")
        return {
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": self.headers.get("Content-Length", ""),
            "HTTP_AUTHORIZATION": self.headers.get("Authorization", ""),
            "wsgi.input": self.rfile,
        }
