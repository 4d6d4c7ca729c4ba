"""A fuzzer of our API client over a real socket: any answer leads to one result per action."""

import random
import socket
import threading
from contextlib import suppress
from typing import Any, Final

import msgspec

from tests.torture.input_fuzz import ACTIONS, Fuzzer, make_answer
from tests.torture.mutate import encode, garble, mutate
from worker.onoffice import wire
from worker.onoffice.client import Client

TOKEN: Final = "whsec_b3BlbnMtbm90aGluZy1hdC1hbGw="
TIMEOUT: Final = 20.0  # seconds without an answer that count as a hang
DATES: Final = (
    "",
    "x",
    "Tue, 01 Jan 1980 00:00:00 GMT",
    "Tue, 99 Jan 9999999 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 -9999",
)


class CannedServer:
    """A server that answers every request with the bytes in `answer`, then closes."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/api.php"
        self._thread = threading.Thread(target=self._serve, name="canned-server", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection, suppress(OSError):
                connection.settimeout(TIMEOUT)
                _read_request(connection)
                connection.sendall(self.answer)

    def __enter__(self) -> "CannedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def _read_request(connection: socket.socket) -> None:
    """Read one request of ours, which has a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(2**16)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(2**16)


def client_fuzzer(server: CannedServer) -> Fuzzer:
    """Return a fuzzer of our client: one result per action for any answer, and credentials in no message."""

    def fuzz_client(rng: random.Random) -> bool:
        server.answer = _answer(rng)
        api = Client(server.url, TOKEN, TOKEN, timeout=TIMEOUT)
        reply = api.send(ACTIONS, request_id="r1", now=1_700_000_000.0)
        api.close()
        messages = msgspec.json.encode([reply.message, *(result.message for result in reply.results)])
        if len(reply.results) != len(ACTIONS) or TOKEN.encode() in messages:
            raise AssertionError(f"{reply} to {server.answer[:300]!r}")
        return any(result.verdict == "ok" for result in reply.results)

    return fuzz_client


def _answer(rng: random.Random) -> bytes:
    document: Any = make_answer(ACTIONS, wire.identifiers("r1", len(ACTIONS)))
    if rng.random() < 0.5:
        document = mutate(document, rng)
    body = encode(document, rng)
    headers = {
        "Content-Type": "application/json",
        "Date": rng.choice(DATES),
        "Retry-After": rng.choice(("1", *DATES, "9" * 5000, TOKEN)),
    }
    if rng.random() < 0.4:
        name = rng.choice(("Content-Type", "Content-Encoding", "Transfer-Encoding", "Location", "Set-Cookie"))
        headers[name] = rng.choice(("gzip", "chunked", "text/html", "x" * 70_000, "\xff", TOKEN))
    if rng.random() < 0.8:
        headers["Content-Length"] = rng.choice(
            (str(len(body)),) * 6 + ("0", str(len(body) + 9), "-1", "9" * 30)
        )
    status = rng.choice(
        ("200 OK",) * 6
        + ("204 No Content", "302 Found", "429 Slow", "502 Bad", "999 What", "100 Continue", "x", "")
    )
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    raw = head.encode("latin-1") + b"\r\n" + body
    return garble(raw, rng) if rng.random() < 0.3 else raw
