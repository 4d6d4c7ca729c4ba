"""The Python client against the running interface: a change is accepted once, however often it was sent."""

import json
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from traceback import format_exception

import httpx
import pytest

from producers.errors import Forbidden, NotTrusted, Unauthorized
from producers.portals import AsyncRelations, Relations
from tests.support.http_front import KEYS, MISSING, Front
from worker.contract import from_message
from worker.errors import BacklogFull, Invalid, InvalidChange, NotFound, RelationsError, Unavailable
from worker.testing import FakeClock

BUYER = "estate:address:buyer"
CERTIFICATE = Path(__file__).parents[1] / "onoffice/self_signed.pem"


def client(
    front: Front,
    *,
    key: str = "portal",
    transport: httpx.BaseTransport | None = None,
    clock: FakeClock | None = None,
) -> Relations:
    return Relations(
        front.url,
        KEYS[key][0],
        account="acme",
        transport=transport or httpx.HTTPTransport(),
        clock=clock or FakeClock(),
    )


class LossyTransport(httpx.BaseTransport):
    """A network that loses the responses to the first requests, after they were executed."""

    def __init__(self, lost: int) -> None:
        self.lost, self.inner = lost, httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        if self.lost:
            self.lost -= 1
            answer.close()
            raise httpx.ReadError("connection reset", request=request)
        return answer


def respond_with(*answers: httpx.Response) -> httpx.MockTransport:
    """Return a server that gives these responses, the last one for ever."""
    left = list(answers)
    return httpx.MockTransport(lambda _: left.pop(0) if len(left) > 1 else left[0])


def test_a_producer_sends_changes_and_reads_their_jobs_later(front: Front) -> None:
    with client(front) as relations:
        first = relations.create(BUYER, 501, [9001, 9002], batch="b-1")
        relations.delete(BUYER, 501, 9002)
        relations.modify(
            "calendar:address", 7, 8, relationinfo={"statusTerminbestaetigung": "gesendet"}, account="beta"
        )
        assert (first.state, first.duplicate) == ("queued", False)
        front.runtime.flush("acme")
        (job,) = relations.wait([first.id])
        assert (job["state"], job["relations"]["applied"], job["batch"]) == ("succeeded", 1, "b-1")
        assert front.store.counts("beta")["accepted"] == 1


def test_many_changes_of_any_form_are_sent_in_parts_and_answered_in_order(front: Front) -> None:
    messages = [
        {"action": "create", "relationtype": BUYER, "parentid": 1, "childid": child}
        for child in range(1, 1100)
    ]
    change = from_message({**messages[0], "account": "acme", "childid": 5000, "event_id": "mine"}).change
    with client(front) as relations:
        sent = relations.send([*messages, change])
        assert [front.job(each.id).children[0] for each in sent] == [
            *range(1, 1100),
            5000,
        ]
        assert relations.send([change])[0] == (sent[-1].id, "queued", True)


def test_a_request_with_a_lost_response_is_repeated_and_nothing_is_accepted_twice(front: Front) -> None:
    with client(front, transport=LossyTransport(3)) as relations:
        sent = relations.create(BUYER, 501, 9001)
        assert sent.duplicate
        assert front.store.counts("acme")["accepted"] == 1
        job = front.job(sent.id)
        assert job.occurred_at <= job.accepted_at


def test_it_waits_as_long_as_retry_after_says_and_gives_up_at_its_timeout() -> None:
    full = httpx.Response(
        429, headers={"Retry-After": "7", "Content-Type": "application/problem+json"}, json={"detail": "full"}
    )
    accepted = httpx.Response(202, json={"jobs": [{"id": "acme-1", "state": "queued", "duplicate": False}]})
    clock = FakeClock()
    relations = Relations(
        "http://here", "key", account="acme", transport=respond_with(full, full, accepted), clock=clock
    )
    assert relations.create(BUYER, 1, 2).id == "acme-1"
    assert 14 <= clock.monotonic() < 15
    stubborn = Relations(
        "http://here", "key", account="acme", timeout=20, transport=respond_with(full), clock=clock
    )
    with pytest.raises(BacklogFull, match="full") as raised:
        stubborn.create(BUYER, 1, 2)
    assert raised.value.retry_after == 7
    assert clock.monotonic() < 35


@pytest.mark.parametrize(
    ("value", "wait"),
    [("Sun, 06 Nov 1994 08:49:44 GMT", 7), ("9" * 5000, 86_400), ("-5", 0), (" ", 0), ("soon", 0)],
)
def test_a_wait_may_be_a_date_as_proxies_write_it_and_is_bounded(value: str, wait: float) -> None:
    headers = {"Retry-After": value, "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}
    relations = Relations(
        "http://here",
        "key",
        timeout=0,
        transport=respond_with(httpx.Response(503, headers=headers, text="<html>")),
        clock=FakeClock(),
    )
    with pytest.raises(Unavailable, match="HTTP 503") as raised:
        relations.job("acme-1")
    assert raised.value.retry_after == wait


def test_a_gateways_error_page_is_as_curable_as_our_own() -> None:
    relations = Relations(
        "http://here", "key", transport=respond_with(httpx.Response(502, text="<html>")), clock=FakeClock()
    )
    with pytest.raises(Unavailable, match="HTTP 502"):
        relations.job("acme-1")


@pytest.mark.parametrize(
    ("key", "ask", "error"),
    [
        ("portal", lambda relations: relations.create(BUYER, 0, 1), InvalidChange),
        ("portal", lambda relations: relations.job("acme-nothing"), NotFound),
        ("viewer", lambda relations: relations.create(BUYER, 1, 1), Forbidden),
        ("acme", lambda relations: relations.create(BUYER, 1, 1, account="beta"), Forbidden),
    ],
)
def test_errors_that_time_cannot_cure_are_raised_at_once(
    front: Front, key: str, ask: Callable[[Relations], object], error: type[RelationsError]
) -> None:
    clock = FakeClock()
    with client(front, key=key, clock=clock) as relations, pytest.raises(error):
        ask(relations)
    assert clock.monotonic() == 0


def test_a_wrong_key_and_a_wrong_address_are_raised_at_once(front: Front) -> None:
    clock = FakeClock()
    with pytest.raises(Unauthorized):
        Relations(front.url, "nobody", transport=httpx.HTTPTransport(), clock=clock).job("acme-1")
    with pytest.raises(Invalid):
        Relations("ftp://here", "key", clock=clock).job("acme-1")
    assert clock.monotonic() == 0


def test_every_fault_is_raised_with_its_path(front: Front) -> None:
    with client(front) as relations, pytest.raises(InvalidChange) as raised:
        relations.send([{"action": "create", "relationtype": BUYER, "parentid": 0, "childid": 1}] * 2)
    assert [fault.location for fault in raised.value.faults] == ["[0].parentid", "[1].parentid"]


def test_a_timeout_of_waiting_names_the_jobs_that_are_not_done(front: Front) -> None:
    with client(front) as relations:
        done, failed = relations.create(BUYER, 1, 1), relations.create(BUYER, 1, MISSING)
        front.runtime.flush("acme")
        assert [job["state"] for job in relations.wait([done.id, failed.id])] == ["succeeded", "failed"]
        late = relations.create(BUYER, 1, 2)
        with pytest.raises(TimeoutError, match=late.id):
            relations.wait([done.id, late.id], timeout=5)


def test_a_job_is_waited_for_by_its_id_or_as_it_was_sent_alone_or_with_others(front: Front) -> None:
    with client(front) as relations:
        sent = relations.create(BUYER, 1, 1)
        front.runtime.flush("acme")
        done = [relations.job(sent.id)]
        assert [
            relations.wait(asked) for asked in (sent, sent.id, [sent], (sent.id, sent), iter([sent]))
        ] == [done] * 5
        assert relations.wait([]) == []


@pytest.mark.parametrize("timeout", [0, 1, 7, 25])
def test_waiting_is_over_in_time_whether_the_server_is_dead_or_hangs(timeout: int) -> None:
    clock = FakeClock()

    def dead(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    def hang(request: httpx.Request) -> httpx.Response:
        clock.advance(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("")

    for way, more in ((dead, 0), (hang, 1)):
        began = clock.monotonic()
        relations = Relations("http://here", "key", transport=httpx.MockTransport(way), clock=clock)
        with pytest.raises(Unavailable, match=r"refused|ReadTimeout"):
            relations.wait("acme-1", timeout=timeout)
        assert clock.monotonic() - began <= timeout + more + 1e-5  # the clock counts microseconds


def test_waiting_for_many_is_over_in_time_too() -> None:
    clock = FakeClock()

    def slow(request: httpx.Request) -> httpx.Response:
        clock.advance(0.2)
        asked.append(json.loads(request.content)["jobs"])
        jobs = [{"id": job_id, "state": "queued"} for job_id in asked[-1]]
        return httpx.Response(200, json={"jobs": jobs})

    asked = list[list[str]]()
    relations = Relations("http://here", "key", transport=httpx.MockTransport(slow), clock=clock)
    with pytest.raises(TimeoutError, match="1100 jobs"):
        relations.wait(map(str, range(1100)), timeout=3)
    assert clock.monotonic() < 4
    assert list(map(len, asked[:3])) == [500, 500, 100]


def test_waiting_names_no_job_that_was_done_in_time() -> None:
    clock = FakeClock()

    def answer(request: httpx.Request) -> httpx.Response:
        state = "succeeded" if clock.monotonic() >= 7 else "queued"
        jobs = [{"id": job_id, "state": state} for job_id in json.loads(request.content)["jobs"]]
        return httpx.Response(200, json={"jobs": jobs})

    relations = Relations("http://here", "key", transport=httpx.MockTransport(answer), clock=clock)
    assert [job["state"] for job in relations.wait("acme-1", timeout=7)] == ["succeeded"]
    assert len(relations.wait(map(str, range(2000)), timeout=0)) == 2000


def test_a_job_that_is_no_longer_kept_has_ended_and_an_impossible_id_is_named(front: Front) -> None:
    with client(front) as relations:
        sent = relations.create(BUYER, 1, 1)
        front.runtime.flush("acme")
        done = relations.wait([sent, f"acme-{'0' * 18}"])
        assert [job["id"] for job in done] == [sent.id]
        with pytest.raises(NotFound, match='"acme-1x" is not the id of a job'):
            relations.wait([sent, "acme-1x"])
    with client(front, key="acme") as relations, pytest.raises(Forbidden):
        relations.wait(f"beta-{'0' * 18}")


@pytest.mark.parametrize("kind", [Relations, AsyncRelations])
@pytest.mark.parametrize("key", ["", " ", "rel_X\r\nHost: there", "rel_X\x00", "rel_Xü", "rel_X\x7f"])
def test_an_impossible_key_is_refused_at_once_and_not_quoted(
    kind: type[Relations | AsyncRelations], key: str
) -> None:
    with pytest.raises(Invalid) as raised:
        kind("http://here", key)
    assert [fault.path for fault in raised.value.faults] == ["key"]
    assert "rel_X" not in str(raised.value)


def test_blanks_around_a_key_and_an_address_are_not_part_of_them(front: Front) -> None:
    with Relations(f" {front.url}\n", f"{KEYS['portal'][0]}\r\n", account="acme") as relations:
        assert relations.create(BUYER, 1, 2).state == "queued"
    with Relations(front.url, bytes(range(32, 127)).decode()) as relations, pytest.raises(Unauthorized):
        relations.job("acme-1")


@pytest.mark.parametrize(
    "url", ["", "here", "here:8080", "ftp://here", "http://", "http://here:x", "http://me:pass@here"]
)
def test_an_impossible_url_is_refused_at_once_and_its_password_not_quoted(url: str) -> None:
    with pytest.raises(Invalid, match="url: ") as raised:
        Relations(url, "key")
    assert "pass@" not in str(raised.value)


def leaf_classes(kind: type[httpx.RequestError]) -> list[type[httpx.RequestError]]:
    """Return the subclasses that have no subclasses of their own."""
    return [leaf for each in kind.__subclasses__() for leaf in leaf_classes(each)] or [kind]


@pytest.mark.parametrize("kind", leaf_classes(httpx.RequestError))
def test_every_network_error_is_translated(kind: type[httpx.RequestError]) -> None:
    curable = issubclass(
        kind,
        httpx.TimeoutException
        | httpx.NetworkError
        | httpx.RemoteProtocolError
        | httpx.ProxyError
        | httpx.DecodingError,
    )

    def fail(_: httpx.Request) -> httpx.Response:
        raise kind("Illegal header value b'Bearer rel_X'")

    relations = Relations("http://here", "rel_X", transport=httpx.MockTransport(fail), clock=FakeClock())
    with pytest.raises(RelationsError) as raised:
        relations.job("acme-1")
    assert isinstance(raised.value, Unavailable) == curable
    if kind is httpx.LocalProtocolError:
        assert "rel_X" not in "".join(format_exception(raised.value))


def test_a_certificate_that_does_not_hold_is_told_at_once() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as threads:
        port = server.getsockname()[1]

        def greet() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):  # whoever asks hangs up
                tls.wrap_socket(connection, server_side=True)

        greeted = threads.submit(greet)
        with (
            Relations(f"https://127.0.0.1:{port}", "key", account="acme", clock=FakeClock()) as relations,
            pytest.raises(NotTrusted, match=r"CERTIFICATE_VERIFY_FAILED.*SSL_CERT_FILE"),
        ):
            relations.create(BUYER, 501, 9001)
        greeted.result(10)
