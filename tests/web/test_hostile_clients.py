"""Hostile and broken clients: each is refused, and no other client notices."""

import asyncio
import gc
import gzip
import json
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from threading import Event
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request

from producers.portals.http import body
from producers.portals.http.application import application
from producers.portals.http.change_handler import MAX_CHANGES
from producers.portals.http.connection import MAX_HEAD, BoundedProtocol, write_refusal
from producers.portals.http.deps import THREADS_PER_KEY, Threads
from producers.portals.http.server import Server
from tests.support.http_front import BUYER, Front, bounded_server, problem, read_all, request_head
from tests.support.waiting import wait_until
from worker.contract import MAX_BODY, from_message
from worker.errors import StoreUnavailable

JSON = {"Content-Type": "application/json"}


@contextmanager
def impatient_server(front: Front) -> Iterator[socket.socket]:
    """Connect to a server that allows little time for heads and bodies."""
    with (
        pytest.MonkeyPatch.context() as patch,
        bounded_server(front, head_seconds=0.2) as (_, connection),
    ):
        patch.setattr(body, "BODY_SECONDS", 0.2)
        yield connection


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /healthz HTTP/1.1\r\nHost: he", b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\nGET /heal"],
)
def test_a_head_that_does_not_come_ends_the_connection(front: Front, begun: bytes) -> None:
    with impatient_server(front) as connection:
        connection.sendall(begun)
        received = read_all(connection)
        assert received.count(b"HTTP/1.1 200 OK") == begun.count(b"\r\n\r\n")
        assert b"HTTP/1.1 408 " in received


def test_a_head_that_drips_is_given_no_more_time_than_one_that_stops(front: Front) -> None:
    with impatient_server(front) as connection, ThreadPoolExecutor(1) as reader:
        response = reader.submit(read_all, connection)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(1200):
            if wait([response], 0.05).done:
                break
            with suppress(OSError):
                connection.sendall(b"X: y\r\n")
        assert response.done()


def test_a_head_without_end_is_refused_before_it_fills_the_memory(front: Front) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(front.url).port or 0), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n" + b"X: " + b"y" * MAX_HEAD)
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v1/jobs?account=a b HTTP/1.1\r\nHost: here\r\n\r\n",  # a URL with a blank
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",  # HTTP/2 with prior knowledge
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /healthz HTTP/1.1\r\nHost: here\r\n\r\n",  # of HAProxy
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n",
        b"POST /v1/changes HTTP/1.1\r\nHost: here\r\nContent-Length: many\r\n\r\n",
        b"POST /v1/changes HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: here\r\n broken: line\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\nnonsense\r\n\r\n",
        b"CONNECT here:443 HTTP/1.1\r\nHost: here:443\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_by_a_problem_document(front: Front, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(front.url).port or 0), timeout=60) as connection:
        connection.sendall(sent)
        answer = read_all(connection)
    head, _, body = answer[answer.index(b"HTTP/1.1 400 Bad Request\r\n") :].partition(b"\r\n\r\n")
    assert {b"content-type: application/problem+json", b"connection: close"} <= set(
        head.lower().split(b"\r\n")
    )
    assert f"content-length: {len(body)}".encode() in head
    document = json.loads(body)
    assert (document["status"], document["title"]) == (400, "Bad Request")
    assert "no HTTP/1.1 request" in document["detail"]
    assert "PROXY" in document["detail"]  # what a balancer may put before all requests
    assert "callback" not in document["detail"]


@pytest.mark.parametrize("status", [400, 408, 431, 503])
def test_refusals_of_the_server_itself_are_problem_documents(status: int) -> None:
    head, _, body = write_refusal(status).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (b"retry-after: 1" in head.lower()) == (status == 503)
    assert json.loads(body)["status"] == status


def test_a_body_that_drips_is_refused_and_nothing_of_it_accepted(front: Front) -> None:
    with impatient_server(front) as connection:
        connection.sendall(request_head("Content-Length: 500") + json.dumps(BUYER).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
    assert front.store.counts("acme").get("accepted", 0) == 0


def test_slow_clients_keep_nobody_else_waiting(front: Front, http: httpx.Client) -> None:
    parts = urlsplit(front.url)
    slow = [socket.create_connection((parts.hostname, parts.port), timeout=60) for _ in range(200)]
    for number, connection in enumerate(slow):
        connection.sendall(
            request_head("Content-Length: 500") if number % 2 else b"POST /v1/changes HTTP/1.1\r\nHo"
        )
    assert http.post("/v1/changes", json=BUYER).status_code == 202
    for connection in slow:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/../../etc/passwd",
        "/v1/jobs/%2e%2e%2f%2e%2e%2fhealthz",
        "/v1/jobs/acme%2F..%2Fbeta-1",
        "/v1/jobs/acme-1%00",
        "/v1/jobs/{acme}-1",
        "/v1/jobs/beta:job:x-1",
        "/v1/jobs/acme-1%0d%0aSet-Cookie:%20a=b",
        "/v1/jobs/%ff%fe-1",
        "/v1/jobs/ａｃｍｅ-1",
        "/v1/jobs/acme\u202e-1",
        "/v1/jobs//acme-1",
        "/v1//jobs/acme-1",
        "/V1/jobs/acme-1",
        "/v1/jobs/acme-1/",
        "/v1/changes/",
        "/webhooks/..%2fv1%2fchanges",
        "/webhooks/desk%00",
        "/webhooks/",
        "//evil.example/healthz",
        "/healthz/%2e%2e",
    ],
)
def test_no_trick_with_a_path_leads_anywhere(front: Front, path: str) -> None:
    (mine,) = front.runtime.intake().accept([from_message({**BUYER, "account": "beta"}).change])
    http = front.client("acme")
    with http.stream("GET", front.url + path) as answer:
        answer.read()
    assert answer.status_code in (403, 404)
    assert mine.job not in answer.text
    assert not {"location", "set-cookie"} & answer.headers.keys()
    problem(answer, answer.status_code)


def test_a_label_is_looked_up_as_it_is_and_leads_to_no_other_key(front: Front, http: httpx.Client) -> None:
    front.runtime.intake().accept([from_message({**BUYER, "batch": "a/../b"}).change])
    assert http.get("/v1/batches/a%2F..%2Fb", params={"account": "acme"}).json()["batch"] == "a/../b"
    for label in ("b", "..", "x}:counts", "%00"):
        assert http.get(f"{front.url}/v1/batches/{label}", params={"account": "acme"}).status_code in (
            404,
            422,
        )


def test_a_compressed_body_is_never_unpacked_beyond_the_limit(http: httpx.Client) -> None:
    bomb, size = b" " * 2**20, MAX_BODY // 2**20 * 8
    packers = {"gzip": zlib.compressobj(wbits=31), "DEFLATE": zlib.compressobj(wbits=-15)}
    for coding, packer in packers.items():
        body = b"".join([*(packer.compress(bomb) for _ in range(size)), packer.flush()])
        headers = {**JSON, "Content-Encoding": coding}
        problem(http.post("/v1/changes", content=body, headers=headers), 413)
        problem(http.post("/webhooks/immo", content=body, headers=headers), 413)


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "x", "deflate, br"])
def test_a_coding_that_is_not_read_is_refused_with_those_that_are(http: httpx.Client, coding: str) -> None:
    answer = http.post("/v1/changes", content=b"[]", headers={**JSON, "Content-Encoding": coding})
    problem(answer, 415)
    assert answer.headers["accept-encoding"].startswith("gzip, deflate")


@pytest.mark.parametrize("named", ["utf-8", "UTF8", "iso-8859-1", "none", "identity", "8bit", "binary", ""])
def test_a_charset_where_a_coding_should_stand_is_no_coding(http: httpx.Client, named: str) -> None:
    content, headers = json.dumps(BUYER).encode(), {**JSON, "Content-Encoding": named}
    assert http.post("/v1/changes", content=content, headers=headers).status_code == 202
    packed = gzip.compress(content)
    headers = {**JSON, "Content-Encoding": f"{named}, gzip"}
    assert http.post("/v1/changes", content=packed, headers=headers).status_code == 202


def test_more_changes_than_one_body_may_bring_are_refused_whole_and_counted(
    front: Front, http: httpx.Client
) -> None:
    line = json.dumps(BUYER) + "\n"
    document = problem(
        http.post(
            "/v1/changes", content=line * (MAX_CHANGES + 1), headers={"Content-Type": "application/x-ndjson"}
        ),
        413,
    )
    assert document["detail"] == f"the body has more than {MAX_CHANGES} changes; send it in parts"
    assert front.store.counts("acme").get("accepted", 0) == 0


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/changes", {"POST"}),
        ("/v1/jobs", {"GET", "HEAD"}),
        ("/webhooks/desk", {"GET", "HEAD", "POST"}),
        ("/healthz", {"GET", "HEAD"}),
    ],
)
def test_options_and_405_name_the_methods_there_are(http: httpx.Client, path: str, methods: set[str]) -> None:
    options = http.options(path)
    assert (options.status_code, options.content) == (204, b"")
    refused = http.patch(path)
    problem(refused, 405)
    for answer in (options, refused):
        assert set(answer.headers["allow"].split(", ")) == methods | {"OPTIONS"}
        assert answer.headers["x-correlation-id"]
    assert not any(name.startswith("access-control") for name in options.headers)


def test_head_is_get_without_the_body(http: httpx.Client) -> None:
    head, whole = http.head("/openapi.json"), http.get("/openapi.json")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_one_idempotency_key_used_by_many_at_once_is_one_job(front: Front) -> None:
    clients = [front.client() for _ in range(8)]
    with ThreadPoolExecutor(8) as senders:
        answers = list(
            senders.map(
                lambda http: http.post("/v1/changes", json=BUYER, headers={"Idempotency-Key": "k"}),
                clients * 4,
            )
        )
    assert {answer.status_code for answer in answers} == {202}
    jobs = [answer.json()["jobs"][0] for answer in answers]
    assert len({job["id"] for job in jobs}) == 1
    assert [job["duplicate"] for job in jobs].count(False) == 1


# --- bounds on whole requests, answers and connections


def is_ended(connection: socket.socket) -> bool:
    """Return whether the server ends the connection, however it does, before its time is over."""
    try:
        with suppress(ConnectionError):
            read_all(connection)
    except TimeoutError:
        return False
    return True


def test_a_key_in_a_trailer_is_no_header_and_trailers_have_an_end(front: Front) -> None:
    key = request_head().split(b"\r\n")[2]
    head = request_head("Transfer-Encoding: chunked").replace(key + b"\r\n", b"")
    chunk = b"%x\r\n%s\r\n0\r\n" % (len(json.dumps(BUYER)), json.dumps(BUYER).encode())
    with bounded_server(front) as (_, connection):
        connection.sendall(head + chunk + key + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")
    with bounded_server(front) as (_, connection):
        connection.sendall(head + chunk)
        with suppress(OSError):
            for number in range(10_000):
                connection.sendall(b"X-%d: " % number + b"y" * 1000 + b"\r\n")
        assert is_ended(connection)


def test_a_client_that_drips_after_its_answer_is_left(front: Front) -> None:
    with bounded_server(front, request_seconds=0.5) as (_, connection), ThreadPoolExecutor(1) as reader:
        answer = reader.submit(is_ended, connection)
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(1200):
            if wait([answer], 0.05).done:
                break
            with suppress(OSError):
                connection.sendall(b"x")
        assert answer.done()


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n", b"\r\n"),
        (b"POST /nowhere HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\n", b"body"),
        (b"POST /nowhere HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nbo", b"dy\r\n\r\n"),
    ],
)
def test_what_comes_after_an_answer_and_begins_no_request_leaves_the_connection_idle(
    front: Front, head: bytes, rest: bytes
) -> None:
    """Nothing else would end it: no request is under way, and to uvicorn it is not idle any more."""
    with (
        Server(application(front.runtime), port=0, keep_alive=0.5) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection,
    ):
        for _ in range(2):
            connection.sendall(head)
            assert connection.recv(1000).startswith(b"HTTP/1.1 ")
            connection.sendall(rest)
        assert read_all(connection) == b""


def test_a_flood_of_what_is_no_http_fills_no_log(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    for sent in (b"\x16\x03\x01\r\n\r\n", b"CONNECT here:443 HTTP/1.1\r\nHost: here:443\r\n\r\n"):
        with bounded_server(front) as (_, connection):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection).startswith(b"HTTP/1.1 40")
    assert caplog.messages == []


def test_a_length_with_zeros_before_it_is_that_length(front: Front) -> None:
    content = json.dumps(BUYER).encode()
    with bounded_server(front) as (_, connection):
        connection.sendall(request_head(f"Content-Length: {'0' * 5000}{len(content)}") + content)
        assert connection.recv(1000).startswith(b"HTTP/1.1 202 ")
        connection.sendall(request_head(f"Content-Length: {'0' * 5000}{MAX_BODY + 1}"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")
    assert front.events == []


def test_a_request_that_was_begun_before_an_earlier_one_was_answered_has_an_end_too(front: Front) -> None:
    with bounded_server(front, request_seconds=0.5) as (_, connection):
        connection.settimeout(10)
        begun = request_head("Content-Length: 100") + b"x"
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n" + begun)
        assert is_ended(connection)


def test_an_answer_that_nobody_reads_is_given_up(front: Front) -> None:
    with bounded_server(front, answer_seconds=0.5) as (server, connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with suppress(OSError):
            for _ in range(20_000):
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n")
        assert is_ended(connection)
        assert httpx.get(f"{server.url}/healthz").is_success


def test_requests_that_are_sent_without_waiting_for_answers_have_an_end(front: Front) -> None:
    with bounded_server(front) as (_, connection):
        with suppress(OSError):
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: here\r\n\r\n" * 5000)
        received = b""
        with suppress(OSError):
            received = read_all(connection)
        assert received.count(b"HTTP/1.1 200 OK") < 5000


def test_a_request_is_bounded_as_it_comes_and_not_by_what_its_chunks_hold(front: Front) -> None:
    most = 2**20
    with bounded_server(front, max_request=most) as (_, connection):
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent, piece = 0, b"1\r\nx\r\n" * 10_000
        with suppress(OSError):
            while sent < 100 * most:
                connection.sendall(piece)
                sent += len(piece)
        assert most <= sent < 20 * most  # what the system holds of it on the way counts too
    assert BoundedProtocol.max_request == 2 * MAX_BODY


def test_large_messages_of_strangers_have_a_bound_together_and_small_ones_come_through(front: Front) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        bounded_server(front) as (server, first),
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        patch.setattr(body, "MAX_HELD", 100_000)

        def status(size: int) -> int:
            return client.post("/webhooks/immo", content=b"x" * size).status_code

        assert status(160_000) == 401
        first.sendall(
            b"POST /webhooks/immo HTTP/1.1\r\nHost: here\r\nContent-Length: 500000\r\n\r\n" + b"x" * 160_000
        )
        wait_until(lambda: status(160_000) == 503, "a large message beside another one is taken")
        assert status(1000) == 401
        refused = client.post("/webhooks/immo", content=b"x" * 160_000)
        assert refused.headers["Retry-After"] == "1", problem(refused)
        first.close()
        wait_until(lambda: status(160_000) == 401, "what an ended connection held is not free")


def test_more_connections_than_there_is_room_for_are_told_to_come_again(front: Front) -> None:
    with bounded_server(front, max_connections=20) as (server, _):
        others = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(40)]
        refused = sum(other.recv(100).startswith(b"HTTP/1.1 503 ") for other in others[20:])
        assert refused == 20
        for other in others:
            other.close()
        wait_until(lambda: httpx.get(f"{server.url}/healthz").is_success, "there is no room")


def test_the_system_is_asked_for_room_for_connections() -> None:
    script = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))
from producers.portals.http.server import connection_limit
print(connection_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    for hard, expected in ((256, "16 256"), (2048, "1664 2048")):
        command = [sys.executable, "-c", script.format(hard=hard)]
        assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == expected


# --- one key among others


def test_what_one_key_asks_for_keeps_neither_intake_nor_other_keys_waiting(front: Front) -> None:
    lease = front.store.lease("acme", "a flush that takes long")
    assert lease
    erasure = {"account": "acme", "module": "address", "id": 4711}
    admin = front.client("admin")
    with ThreadPoolExecutor(60) as clients:
        waiting = [clients.submit(admin.post, "/v1/erasures", json=erasure) for _ in range(60)]
        try:
            wait(waiting, 0.5)
            started = time.monotonic()
            assert front.client("portal").post("/v1/changes", json=BUYER).status_code == 202
            assert front.client("viewer").get("/v1/jobs", params={"account": "acme"}).status_code == 200
            assert time.monotonic() - started < 5
            assert not all(each.done() for each in waiting)
        finally:
            lease.release()


def test_what_was_refused_because_redis_hangs_is_not_done_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("producers.portals.http.deps.PATIENCE_SECONDS", 0.05)
    is_back, asked = Event(), list[int]()

    def refuse() -> None:
        wait_until(lambda: len(asked) == THREADS_PER_KEY, "fewer have begun than may")
        raise StoreUnavailable("it hangs")

    def read(number: int) -> None:
        asked.append(number)
        is_back.wait(30)

    async def scene() -> list[object]:
        threads = Threads(refuse)
        reads = (threads.read_for("viewer", read, number) for number in range(3 * THREADS_PER_KEY))
        refused: list[object] = await asyncio.gather(*reads, return_exceptions=True)
        is_back.set()
        await threads.run_for("viewer", asked.append, -1)
        return refused

    assert {type(error) for error in asyncio.run(scene())} == {StoreUnavailable}
    assert sorted(asked) == [-1, *range(THREADS_PER_KEY)]


def test_a_refused_request_is_gone_with_its_answer(front: Front) -> None:
    def count_kept() -> int:
        return sum(isinstance(each, Request) for each in gc.get_objects())

    http = front.client("portal")
    body = b'{"a": "' + b"x" * 200_000
    headers = {"Content-Type": "application/json"}
    http.post("/v1/changes", content=body, headers=headers)
    gc.collect()
    gc.disable()
    try:
        before = count_kept()
        for _ in range(5):
            assert http.post("/v1/changes", content=body, headers=headers).status_code == 422
        wait_until(lambda: count_kept() <= before + 1, "refused requests are kept", seconds=10)
    finally:
        gc.enable()
