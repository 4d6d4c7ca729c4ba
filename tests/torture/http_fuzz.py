"""A fuzzer of the HTTP interface over a real socket.

Each request must be accepted, or refused by an answer that says so; nothing hangs, nothing is lost.
"""

import gzip
import hashlib
import json
import random
import select
import socket
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.torture.input_fuzz import EXAMPLES
from tests.torture.mutate import encode, garble, mutate
from tests.torture.webhook_fuzz import HEADERS, PAYLOAD
from worker.config import load_settings
from worker.wiring import Runtime

KEY: Final = "a-key-that-opens-nothing"
TOKEN: Final = "whsec_b3BlbnMtbm90aGluZy1hdC1hbGw="
PUBLIC_KEY: Final = (
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # of RFC 8032, section 7.1
)
GRACE: Final = 0.1  # seconds an answer may take before the request counts as incomplete
TIMEOUT: Final = 20.0  # seconds without an answer that count as a hang
BOMB: Final = b"0" * 2**24
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


class HttpFuzzer:
    """Fuzzes the HTTP interface on a real socket; `failures` are its unexpected errors."""

    def __init__(self, runtime: Runtime, server: Server, failures: list[Mapping[str, object]]) -> None:
        self.runtime, self.port, self.failures = runtime, server.port, failures

    def __call__(self, rng: random.Random) -> bool:
        """Send one request; return whether it was accepted. Every accepted job must exist."""
        raw = _request(rng)
        answer = exchange(self.port, raw)
        if self.failures:
            raise AssertionError(f"unexpected: {self.failures.pop()}")
        status = int(answer[9:12]) if answer[:5] == b"HTTP/" else 0
        if status >= 500:
            raise AssertionError(f"{answer[:300]!r} to {raw[:300]!r}")
        if status == 202:
            self._check_jobs(answer.partition(b"\r\n\r\n")[2])
        return 200 <= status < 300

    def _check_jobs(self, body: bytes) -> None:
        for job in json.loads(body)["jobs"]:
            if self.runtime.store.get_job(job["id"]) is None:
                raise AssertionError(f"job {job['id']} was acknowledged and does not exist")

    def is_healthy(self) -> bool:
        """Return whether it still answers."""
        request = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        return exchange(self.port, request).startswith(b"HTTP/1.1 200")


@contextmanager
def serve_http(redis_url: str, folder: Path) -> Iterator[HttpFuzzer]:
    """Serve the interface over this Redis, with a webhook of every scheme; yield its fuzzer."""
    signed = 'header = "X-Signature"\n'
    sources = [
        SOURCE.format(name=name, more=signed if name == "hmac" else "")
        for name in ("hmac", "bearer", "onoffice", "standard-webhooks", "jwt")
    ]
    by_key = f'{signed}public_key = "{PUBLIC_KEY}"'
    sources.append(
        SOURCE.format(name="public-key", more=by_key).replace('secret = "env:TORTURE_TOKEN"\n', "")
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
        yield HttpFuzzer(runtime, server, failures)
    runtime.client.close()


def exchange(port: int, raw: bytes) -> bytes:
    """Send these bytes, and return the answer until the other side closes.

    When the server waits for more, our side of the connection is closed.
    """
    answer = bytearray()
    with (
        suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection,
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
    "/webhooks/public-key",
    "/webhooks/jwt",
)
READ_PATHS: Final = (
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


def _request(rng: random.Random) -> bytes:
    path, body = rng.choice(PATHS), b""
    if rng.random() < 0.3:
        method, path = (
            rng.choice(("GET", "GET", "POST", "HEAD", "DELETE", "OPTIONS", "BREW")),
            rng.choice(READ_PATHS),
        )
    else:
        method, body = "POST", _body(path, rng)
    headers = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "Connection": "close",
    }
    if path == "/webhooks/bearer":
        headers["Authorization"] = f"Bearer {TOKEN}"
    if rng.random() < 0.6:
        headers |= _odd_headers(rng)
    body = _set_length(body, headers, rng)
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers.items()
    )
    raw = head.encode("latin-1") + b"\r\n" + body
    return garble(raw, rng) if rng.random() < 0.15 else raw


def _body(path: str, rng: random.Random) -> bytes:
    value: Any = PAYLOAD if path.startswith("/webhooks") else rng.choice(EXAMPLES) | {"account": "acme"}
    if rng.random() < 0.6:
        value = mutate(value, rng)
    raw = encode(value, rng) if rng.random() < 0.8 else b"\n".join(encode(value, rng) for _ in range(3))
    return garble(raw, rng) if rng.random() < 0.3 else raw


def _odd_headers(rng: random.Random) -> dict[str, str]:
    """Return one or two unusual headers."""
    odd = {
        "Content-Type": rng.choice(KINDS),
        "Content-Encoding": rng.choice(("gzip", "deflate", "br", "identity, gzip", "\xff")),
        "Host": rng.choice(HOSTS),
        "Authorization": rng.choice(HEADERS),
        "Idempotency-Key": rng.choice(HEADERS),
        "Prefer": rng.choice(("wait=0", "wait=-1", "wait=" + "9" * 5000, "wait=x", "wait")),
        "X-Signature": rng.choice(HEADERS),
        "Webhook-Id": rng.choice(HEADERS),
        "Expect": "100-continue",
        "Upgrade": "websocket",
        "Cookie": "a=b;" * 20_000,
    }
    return {name: odd[name] for name in rng.sample(sorted(odd), rng.choice((1, 1, 2)))}


def _set_length(body: bytes, headers: dict[str, str], rng: random.Random) -> bytes:
    """Return the body, and set the headers of its length: right, wrong, chunked, or a decompression bomb."""
    if headers.get("Content-Encoding") in ("gzip", "deflate"):
        body = gzip.compress(BOMB, 1) if headers["Content-Encoding"] == "gzip" else zlib.compress(BOMB, 1)
    framing = rng.randrange(8)
    if framing == 0:
        headers["Transfer-Encoding"] = "chunked"
        return rng.choice(
            (
                b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
                b"zz\r\n" + body,
                b"ffffffffffffffffff\r\n" + body,
                b"5\r\nab",
            )
        )
    if framing == 1:
        headers["Content-Length"] = rng.choice(("-1", "0", "9" * 30, "x", "1, 2", str(len(body) + 5)))
        return body
    headers["Content-Length"] = str(len(body))
    return body
