"""A name whose server can be changed: a port that forwards, and may speak TLS to clients that do."""

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from ops.dev.redis_server import RedisServer

TLS = b"\x16"  # the first byte of a handshake


class Listener:
    """A port whose connections are each served in a thread of its own, until it is closed."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        raise NotImplementedError


class Forwarder(Listener):
    """Forwards each connection to the server that is the target when it is made; older ones stay."""

    def __init__(self, target: RedisServer, *, certificate: Path | None = None) -> None:
        self.target = target
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        super().__init__()

    @property
    def url(self) -> str:
        """The URL of the server behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def serve(self, client: socket.socket) -> None:
        """Forward one connection, to the server that is the target now."""
        port = port_of(self.target)
        with suppress(OSError):
            if self._context and client.recv(1, socket.MSG_PEEK) == TLS:
                client = self._context.wrap_socket(client, server_side=True)
            with client, socket.create_connection(("127.0.0.1", port)) as server:
                threading.Thread(target=copy, args=(server, client), daemon=True).start()
                copy(client, server)


def port_of(server: RedisServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
