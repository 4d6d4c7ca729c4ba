"""A real HTTP server on 127.0.0.1 that takes one step of a test per request: raw sockets, to misbehave."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Step = Callable[[socket.socket, "ReceivedRequest"], None]


class ReceivedRequest:
    """One request as it arrived."""

    def __init__(self, head: bytes, content: bytes) -> None:
        first, *lines = head.decode().split("\r\n")
        self.line, self.content = first, content
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def actions(self) -> list[dict[str, Any]]:
        return self.body["request"]["actions"]


class Server:
    """Handles each request with the next step; counts requests and connections."""

    def __init__(self, steps: tuple[Step, ...], tls: ssl.SSLContext | None) -> None:
        self._steps, self._tls = list(steps), tls
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http{'s' if tls else ''}://{self.host}/api.php"
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            accepted, _ = self._listener.accept()
            if self._stopped:
                return accepted.close()
            self.connections += 1
            with suppress(OSError), accepted, self._secure(accepted) as connection:
                self._handle(connection)

    def _secure(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def _handle(self, connection: socket.socket) -> None:
        while request := self._receive(connection):
            self.requests.append(request)
            self._steps.pop(0)(connection, request)
            if connection.fileno() == -1:
                return

    def _receive(self, connection: socket.socket) -> ReceivedRequest | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, content = data.partition(b"\r\n\r\n")
        request = ReceivedRequest(head, content)
        while len(content) < int(request.headers["content-length"]):
            piece = connection.recv(65536)
            if not piece:
                return None
            content += piece
        request.content = content
        return request

    def stop(self) -> None:
        """End the thread: no client is left by then, so one more connection wakes it from `accept`."""
        self._stopped = True
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join(5)
        assert not self._thread.is_alive()
        self._listener.close()


@contextmanager
def scripted(*steps: Step, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server that takes these steps, and stop it with the block."""
    server = Server(steps, tls)
    try:
        yield server
    finally:
        server.stop()


def http(content: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return the bytes of one response."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(content)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def results(request: ReceivedRequest, errorcode: int = 0, message: str = "") -> bytes:
    """Return the API's answer with the same code for every action."""
    rows = [
        {
            **{key: action[key] for key in ("actionid", "resourcetype", "identifier")},
            "data": [],
            "status": {"errorcode": errorcode, "message": message},
        }
        for action in request.actions
    ]
    return json.dumps(
        {"status": {"code": 200, "errorcode": 0, "message": "OK"}, "response": {"results": rows}}
    ).encode()


def answer_results(errorcode: int = 0, message: str = "", status: str = "200 OK", **headers: str) -> Step:
    """Return a step that gives an ordinary answer."""

    def step(connection: socket.socket, request: ReceivedRequest) -> None:
        connection.sendall(http(results(request, errorcode, message), status, **headers))

    return step


def answer_bytes(content: bytes, status: str = "200 OK", **headers: str) -> Step:
    """Return a step that gives these bytes as the answer's body."""
    return lambda connection, _: connection.sendall(http(content, status, **headers))


def hang_up(*, after: bytes = b"") -> Step:
    """Return a step that sends these raw bytes, and ends the connection in the ordinary way."""

    def step(connection: socket.socket, _: ReceivedRequest) -> None:
        connection.sendall(after)
        connection.close()

    return step


def reset(connection: socket.socket, _: ReceivedRequest) -> None:
    """Send RST instead of an answer: a step."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def drip(start: bytes) -> Step:
    """Return a step that sends these raw bytes, then one byte every 10 ms until the client hangs up."""

    def step(connection: socket.socket, _: ReceivedRequest) -> None:
        connection.sendall(start)
        never = threading.Event()
        while not never.wait(0.01):
            connection.sendall(b"x")

    return step
