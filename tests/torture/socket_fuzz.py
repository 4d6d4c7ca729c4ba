"""Doors that are tried over real sockets: the HTTP interface with any request, and our client with any answer.

The same law as in `doors`: whatever comes is taken, or refused by an answer or outcome that says so; nothing hangs, nothing is lost.
"""

import gzip
import hashlib
import json
import random
import select
import socket
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.torture.input_fuzz import ACTIONS, EXAMPLES, InputKind, answer_to
from tests.torture.mutate import garbled, twisted, written
from tests.torture.webhook_fuzz import HEADERS, PAYLOAD
from worker.config import load_settings
from worker.onoffice import wire
from worker.onoffice.client import Client
from worker.wiring import Runtime

KEY: Final = "a-key-that-opens-nothing"
TOKEN: Final = "whsec_b3BlbnMtbm90aGluZy1hdC1hbGw="  # noqa: S105
GRACE: Final = 0.1  # seconds an answer may take before the request counts as incomplete
PATIENCE: Final = 20.0  # seconds without an answer that count as a hang
BOMB: Final = b"0" * 2**24
DATES: Final = (
    "",
    "x",
    "Tue, 01 Jan 1980 00:00:00 GMT",
    "Tue, 99 Jan 9999999 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 -9999",
)
SETTINGS: Final = """
[accounts.acme]
token = "env:TORTURE_TOKEN"
secret = "env:TORTURE_TOKEN"

[keys.any]
sha256 = "{key}"
accounts = ["acme"]
can = ["send", "read"]
{sources}
"""
SOURCE: Final = """
[sources.{name}]
account = "acme"
scheme = "{name}"
secret = "env:TORTURE_TOKEN"
{more}
[[sources.{name}.rules]]
action = "'create'"
relationtype = "'estate:address:buyer'"
parentid = "data.id"
childid = "ids"
"""


class Front:
    """The HTTP interface on a real socket; `failures` are the errors it did not expect."""

    def __init__(self, runtime: Runtime, server: Server, failures: list[Mapping[str, object]]) -> None:
        self.runtime, self.port, self.failures = runtime, server.port, failures

    def __call__(self, dice: random.Random) -> bool:
        """One request, whole or broken. Whether it was taken; of what was, every job is there."""
        raw = _request(dice)
        answer = exchange(self.port, raw)
        if self.failures:
            raise AssertionError(f"unexpected: {self.failures.pop()}")
        status = int(answer[9:12]) if answer[:5] == b"HTTP/" else 0
        if status >= 500:
            raise AssertionError(f"{answer[:300]!r} to {raw[:300]!r}")
        if status == 202:
            self._kept(answer.partition(b"\r\n\r\n")[2])
        return 200 <= status < 300

    def _kept(self, body: bytes) -> None:
        for job in json.loads(body)["jobs"]:
            if self.runtime.store.get_job(job["id"]) is None:
                raise AssertionError(f"job {job['id']} was acknowledged and is not there")

    def healthy(self) -> bool:
        """Whether it still answers."""
        return exchange(
            self.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ).startswith(b"HTTP/1.1 200")


@contextmanager
def front(redis_url: str, folder: Path) -> Iterator[Front]:
    """The interface over this Redis, with a webhook of every scheme."""
    signed = 'header = "X-Signature"\n'
    sources = (
        SOURCE.format(name=name, more=signed if name == "hmac" else "")
        for name in ("hmac", "bearer", "onoffice", "standard-webhooks")
    )
    text = SETTINGS.format(key=hashlib.sha256(KEY.encode()).hexdigest(), sources="".join(sources))
    (folder / "relations.toml").write_text(text)
    failures = list[Mapping[str, object]]()

    def emit(event: str, /, **fields: object) -> None:
        if event == "request.failed":
            failures.append(fields)

    settings = load_settings({"TORTURE_TOKEN": TOKEN, "RELATIONS_REDIS_URL": redis_url}, folder)
    runtime = Runtime(settings, wake=lambda *_: None, emit=emit)
    with Server(application(runtime), port=0) as server:
        yield Front(runtime, server, failures)
    runtime.client.close()


def exchange(port: int, raw: bytes) -> bytes:
    """All that is answered to these bytes until the other side closes; when it waits for more, it is told that there is none."""
    answer = bytearray()
    with (
        suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection,
    ):
        with suppress(ConnectionError):  # it need not read to the end
            connection.sendall(raw)
        more = True
        while more:
            if not select.select([connection], [], [], GRACE)[0]:
                connection.shutdown(socket.SHUT_WR)
            more = bool(piece := connection.recv(2**16))
            answer += piece
    return bytes(answer)


# --- requests

PATHS: Final = (
    "/v1/changes",
    "/v1/changes",
    "/v1/changes",
    "/webhooks/hmac",
    "/webhooks/bearer",
    "/webhooks/standard-webhooks",
)
ASKED: Final = (
    *(
        "/v1/jobs?account=acme",
        "/v1/jobs/acme-1",
        "/v1/jobs?account=acme&cursor=9&limit=1&state=failed",
        "/webhooks/onoffice?timestamp=1",
    ),
    *(
        "/v1/jobs/%00%ff%2f..",
        "/v1/jobs?account=acme&limit=" + "9" * 5000,
        "/healthz/",
        "//",
        "/webhooks/",
        "*",
        "/v1/jobs?%ff=%00&account=x",
    ),
)
KINDS: Final = (
    "application/json",
    "application/x-ndjson",
    "text/html",
    "application/json; charset=utf-16",
    "",
    "multipart/form-data",
)
HOSTS: Final = ("127.0.0.1", "[", "[::1", "a b", "x:99999999", "", "\xff", "h" * 5000)


def _request(dice: random.Random) -> bytes:
    path, body = dice.choice(PATHS), b""
    if dice.random() < 0.3:
        method, path = (
            dice.choice(("GET", "GET", "POST", "HEAD", "DELETE", "OPTIONS", "BREW")),
            dice.choice(ASKED),
        )
    else:
        method, body = "POST", _body(path, dice)
    headers = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "Connection": "close",
    }
    if path == "/webhooks/bearer":
        headers["Authorization"] = f"Bearer {TOKEN}"
    if dice.random() < 0.6:
        headers |= _odd(dice)
    body = _framed(body, headers, dice)
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers.items()
    )
    raw = head.encode("latin-1") + b"\r\n" + body
    return garbled(raw, dice) if dice.random() < 0.15 else raw


def _body(path: str, dice: random.Random) -> bytes:
    value: Any = PAYLOAD if path.startswith("/webhooks") else dice.choice(EXAMPLES) | {"account": "acme"}
    if dice.random() < 0.6:
        value = twisted(value, dice)
    raw = written(value, dice) if dice.random() < 0.8 else b"\n".join(written(value, dice) for _ in range(3))
    return garbled(raw, dice) if dice.random() < 0.3 else raw


def _odd(dice: random.Random) -> dict[str, str]:
    """A header or two that nobody expects."""
    odd = {
        "Content-Type": dice.choice(KINDS),
        "Content-Encoding": dice.choice(("gzip", "deflate", "br", "identity, gzip", "\xff")),
        "Host": dice.choice(HOSTS),
        "Authorization": dice.choice(HEADERS),
        "Idempotency-Key": dice.choice(HEADERS),
        "Prefer": dice.choice(("wait=0", "wait=-1", "wait=" + "9" * 5000, "wait=x", "wait")),
        "X-Signature": dice.choice(HEADERS),
        "Webhook-Id": dice.choice(HEADERS),
        "Expect": "100-continue",
        "Upgrade": "websocket",
        "Cookie": "a=b;" * 20_000,
    }
    return {name: odd[name] for name in dice.sample(sorted(odd), dice.choice((1, 1, 2)))}


def _framed(body: bytes, headers: dict[str, str], dice: random.Random) -> bytes:
    """The body with what says where it ends: rightly, wrongly, in pieces, or blown up from very little."""
    if headers.get("Content-Encoding") in ("gzip", "deflate"):
        body = gzip.compress(BOMB, 1) if headers["Content-Encoding"] == "gzip" else zlib.compress(BOMB, 1)
    way = dice.randrange(8)
    if way == 0:
        headers["Transfer-Encoding"] = "chunked"
        return dice.choice(
            (
                b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
                b"zz\r\n" + body,
                b"ffffffffffffffffff\r\n" + body,
                b"5\r\nab",
            )
        )
    if way == 1:
        headers["Content-Length"] = dice.choice(("-1", "0", "9" * 30, "x", "1, 2", str(len(body) + 5)))
        return body
    headers["Content-Length"] = str(len(body))
    return body


# --- answers


class Answering:
    """A server that answers every request with the same bytes, then closes: the API on a bad day."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/api.php"
        self._thread = threading.Thread(target=self._serve, name="answering", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE)
                _swallow(connection)
                connection.sendall(self.answer)

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def _swallow(connection: socket.socket) -> None:
    """Read one request of ours, which says how long it is."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(2**16)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(2**16)


def client(server: Answering) -> InputKind:
    """The door of our client: one outcome per action, whatever comes back, and none of the credentials in a word of it."""

    def door(dice: random.Random) -> bool:
        server.answer = _answer(dice)
        api = Client(server.url, TOKEN, TOKEN, timeout=PATIENCE)
        reply = api.send(ACTIONS, request_id="r1", now=1_700_000_000.0)
        api.close()
        told = msgspec.json.encode([reply.message, *(outcome.message for outcome in reply.results)])
        if len(reply.results) != len(ACTIONS) or TOKEN.encode() in told:
            raise AssertionError(f"{reply} to {server.answer[:300]!r}")
        return any(outcome.verdict == "ok" for outcome in reply.results)

    return door


def _answer(dice: random.Random) -> bytes:
    document: Any = answer_to(ACTIONS, wire.identifiers("r1", len(ACTIONS)))
    if dice.random() < 0.5:
        document = twisted(document, dice)
    body = written(document, dice)
    headers = {
        "Content-Type": "application/json",
        "Date": dice.choice(DATES),
        "Retry-After": dice.choice(("1", *DATES, "9" * 5000, TOKEN)),
    }
    if dice.random() < 0.4:
        name = dice.choice(
            ("Content-Type", "Content-Encoding", "Transfer-Encoding", "Location", "Set-Cookie")
        )
        headers[name] = dice.choice(("gzip", "chunked", "text/html", "x" * 70_000, "\xff", TOKEN))
    if dice.random() < 0.8:
        headers["Content-Length"] = dice.choice(
            (str(len(body)),) * 6 + ("0", str(len(body) + 9), "-1", "9" * 30)
        )
    status = dice.choice(
        ("200 OK",) * 6
        + ("204 No Content", "302 Found", "429 Slow", "502 Bad", "999 What", "100 Continue", "x", "")
    )
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    raw = head.encode("latin-1") + b"\r\n" + body
    return garbled(raw, dice) if dice.random() < 0.3 else raw
