"""A real HTTP server on 127.0.0.1 that does exactly what a test says, one turn per request: raw sockets, so it can misbehave."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Turn = Callable[[socket.socket, "Asked"], None]


class Asked:
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
    """Answers each request with the next turn; `asked` is what came, `connections` how often a client connected."""

    def __init__(self, turns: tuple[Turn, ...], tls: ssl.SSLContext | None) -> None:
        self._turns, self._tls = list(turns), tls
        self.asked: list[Asked] = []
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
            with suppress(OSError), accepted, self._secured(accepted) as connection:
                self._converse(connection)

    def _secured(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def _converse(self, connection: socket.socket) -> None:
        while asked := self._receive(connection):
            self.asked.append(asked)
            self._turns.pop(0)(connection, asked)
            if connection.fileno() == -1:
                return

    def _receive(self, connection: socket.socket) -> Asked | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, content = data.partition(b"\r\n\r\n")
        asked = Asked(head, content)
        while len(content) < int(asked.headers["content-length"]):
            content += connection.recv(65536)
        asked.content = content
        return asked

    def stop(self) -> None:
        """End the thread; every client has gone by then, so it stands in `accept`, which one more connection wakes."""
        self._stopped = True
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join(5)
        assert not self._thread.is_alive()
        self._listener.close()


@contextmanager
def scripted(*turns: Turn, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(turns, tls)
    try:
        yield server
    finally:
        server.stop()


def http(content: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """The bytes of one response."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(content)}",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def results(asked: Asked, errorcode: int = 0, message: str = "") -> bytes:
    """The API's answer: the same code for every action."""
    rows = [
        {
            **{k: a[k] for k in ("actionid", "resourcetype", "identifier")},
            "data": [],
            "status": {"errorcode": errorcode, "message": message},
        }
        for a in asked.actions
    ]
    return json.dumps(
        {"status": {"code": 200, "errorcode": 0, "message": "OK"}, "response": {"results": rows}}
    ).encode()


def answers(errorcode: int = 0, message: str = "", status: str = "200 OK", **headers: str) -> Turn:
    """A turn: an ordinary answer."""
    return lambda connection, asked: connection.sendall(
        http(results(asked, errorcode, message), status, **headers)
    )


def says(content: bytes, status: str = "200 OK", **headers: str) -> Turn:
    """A turn: these bytes as the answer."""
    return lambda connection, asked: connection.sendall(http(content, status, **headers))


def hangs_up(*, after: bytes = b"") -> Turn:
    """A turn: these raw bytes, then an ordinary end of the connection."""

    def turn(connection: socket.socket, asked: Asked) -> None:
        connection.sendall(after)
        connection.close()

    return turn


def resets(connection: socket.socket, asked: Asked) -> None:
    """A turn: RST instead of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def drips(start: bytes) -> Turn:
    """A turn: these raw bytes, then one byte every 10 ms until the client goes away."""

    def turn(connection: socket.socket, asked: Asked) -> None:
        connection.sendall(start)
        gone = threading.Event()
        while not gone.wait(0.01):
            connection.sendall(b"x")

    return turn
