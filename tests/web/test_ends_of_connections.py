"""Clients as they are in the field get their answers, however they end a request or the connection."""

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import httpx
import pytest

from tests.support.http_front import BUYER, SECRETS, Front, bounded_server, read_all, request_head
from tests.support.waiting import wait_until
from worker.contract import MAX_MESSAGE

BODY = json.dumps(BUYER).encode()
WHOLE = request_head(f"Content-Length: {len(BODY)}") + BODY
NOBODY = request_head("Expect: 100-continue", f"Content-Length: {len(BODY)}").replace(b"canary", b"wrong")


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", received)]


def is_reset(connection: socket.socket) -> bool:
    """Return whether the server takes no more of what is sent."""
    try:
        connection.sendall(b"x")
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (WHOLE, [202]),
        (WHOLE * 3, [202, 202, 202]),
        (request_head("Prefer: wait=1", f"Content-Length: {len(BODY)}") + BODY, [202]),
        (b"GET /healthz HTTP/1.0\r\n\r\n", [200]),
    ],
)
def test_a_client_that_ends_its_side_after_its_request_is_answered(
    front: Front, sent: bytes, expected: list[int]
) -> None:
    with bounded_server(front) as (_, connection):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_all(connection)) == expected


def test_a_client_that_ends_its_side_within_its_request_is_left(front: Front) -> None:
    with bounded_server(front) as (_, connection):
        connection.sendall(WHOLE[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""


@pytest.mark.parametrize("rest", [WHOLE[:9], WHOLE[:-1]])
def test_a_client_that_ends_its_side_within_a_later_request_keeps_no_connection(
    front: Front, rest: bytes
) -> None:
    with bounded_server(front, max_connections=1) as (server, connection):
        connection.sendall(WHOLE + rest)
        connection.shutdown(socket.SHUT_WR)
        wait_until(lambda: httpx.get(f"{server.url}/healthz").is_success, "the server keeps it")
        assert statuses(read_all(connection)) == [202]
    assert front.store.counts("acme")["accepted"] == 1


@pytest.mark.parametrize("wait", ["", "Prefer: wait=1"])
@pytest.mark.parametrize("rubbish", [b"RUBBISH\r\n\r\n", b"}", b"GET /he"])
def test_what_no_request_follows_is_answered_first(front: Front, wait: str, rubbish: bytes) -> None:
    """It was accepted, and the refusal of what came behind it would be taken for its answer."""
    head = request_head(f"Content-Length: {len(BODY)}", *filter(None, [wait]))
    with bounded_server(front, head_seconds=0.3) as (_, connection):
        connection.sendall(head + BODY + rubbish)
        received = read_all(connection)
        assert statuses(received) == [202, 408 if rubbish.startswith(b"GET") else 400]
    assert front.store.counts("acme")["accepted"] == 1


def test_a_length_in_characters_is_told_what_is_wrong_with_the_body(front: Front) -> None:
    text = json.dumps({**BUYER, "batch": "Größe"}, ensure_ascii=False)
    with bounded_server(front) as (_, connection):
        connection.sendall(request_head(f"Content-Length: {len(text)}") + text.encode())
        received = read_all(connection)
        assert statuses(received) == [422, 400]
        assert b"this is no HTTP/1.1 request (Invalid method encountered)" in received


def test_an_answer_that_needs_no_body_ends_the_connection_of_a_client_that_waits_with_it(
    front: Front,
) -> None:
    """Its next request would be read as the body, and wait for ever."""
    with bounded_server(front) as (_, connection):
        connection.sendall(NOBODY)
        received = read_all(connection)
        assert statuses(received) == [401]
        assert b"\r\nconnection: close\r\n" in received
    with bounded_server(front) as (_, connection):
        connection.sendall(request_head("Expect: 100-continue", f"Content-Length: {len(BODY)}"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY + b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert statuses(read_all(connection)) == [202, 200]


@pytest.mark.parametrize("path", ["/webhooks/desk", "/v1/change", "/v1/changes"])
def test_a_client_that_closes_reads_why_its_long_body_is_refused(front: Front, path: str) -> None:
    """Python's urllib, wget and HTTP/1.0 send all of it first; a reset takes the answer from them."""
    request = Request(f"{front.url}{path}", b" " * 8 * MAX_MESSAGE)
    request.add_header("Authorization", f"Bearer {SECRETS['DESK_SECRET']}")
    with pytest.raises(HTTPError) as raised:
        build_opener(ProxyHandler({})).open(request, timeout=60)
    expected = {"/webhooks/desk": 413, "/v1/change": 404, "/v1/changes": 401}
    assert (raised.value.code, raised.value.headers["Connection"]) == (expected[path], "close")
    assert json.load(raised.value)["detail"]


def test_a_client_that_sends_all_before_it_reads_learns_that_it_is_far_too_much(front: Front) -> None:
    long = request_head("Content-Length: 6000000") + b" " * 6_000_000
    with bounded_server(front, max_request=2**20) as (_, connection):
        connection.sendall(long.replace(b"Bearer canary", b"Bearer wrong"))
        connection.sendall(WHOLE)
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_all(connection)) == [401, 202]


def test_too_long_a_head_is_answered_although_more_of_it_comes(front: Front) -> None:
    with bounded_server(front) as (_, connection), ThreadPoolExecutor(1) as sender:
        sending = sender.submit(connection.sendall, b"GET / HTTP/1.1\r\nX: " + b"y" * 4_000_000 + b"\r\n\r\n")
        assert statuses(read_all(connection)) == [431]
        sending.result(60)


def test_what_comes_after_the_last_answer_has_an_end_and_keeps_no_server_from_stopping(front: Front) -> None:
    refused = b"POST /nowhere HTTP/1.0\r\nContent-Length: 100000\r\n\r\n"
    with bounded_server(front, linger_seconds=0.2) as (_, connection):
        connection.sendall(refused)
        assert statuses(read_all(connection)) == [404]
        wait_until(lambda: is_reset(connection), "it is read for ever")
    with bounded_server(front) as (_, connection):
        connection.sendall(refused)
        assert statuses(read_all(connection)) == [404]
        started = time.monotonic()
    assert time.monotonic() - started < 10
