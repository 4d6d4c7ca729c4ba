import os
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpcore
import msgspec
import pytest

from tests.support.scripted_api import (
    ReceivedRequest,
    Server,
    Step,
    answer_bytes,
    answer_results,
    drip,
    hang_up,
    http,
    reset,
    results,
    scripted,
)
from worker.errors import InvalidSettings
from worker.network import Deadline, connection_pool
from worker.onoffice.client import MAX_ANSWER, VERDICTS, Client
from worker.onoffice.wire import signature
from worker.planner.actions import Action, ErrorClass, Reply, Verdict

TOKEN, SECRET, CLAIM = "T" * 32, "S" * 64, "C" * 40
CREATE = Action("create", "calendar:address", (1,), (2, 3))
DELETE = Action("delete", "calendar:address", (1,), (4,))
NOW = 1_700_000_000.9


def client(server: Server | str, **settings: Any) -> Client:
    url = server if isinstance(server, str) else server.url
    return Client(url, TOKEN, SECRET, **{"timeout": 5.0, **settings})


def send(server: Server | str, *actions: Action, **settings: Any) -> Reply:
    with closing(client(server, **settings)) as api:
        return api.send(actions or (CREATE,), request_id="r1", now=NOW)


def verdicts(reply: Reply) -> set[Verdict]:
    return {outcome.verdict for outcome in reply.results}


# --- one request


def test_one_request_carries_all_actions_signed_with_the_callers_clock() -> None:
    with scripted(answer_results()) as server:
        reply = send(server, CREATE, DELETE, extendedclaim=CLAIM)
    (request,) = server.requests
    assert request.line == "POST /api.php HTTP/1.1"
    assert request.body["token"] == TOKEN
    assert [action["identifier"] for action in request.actions] == ["r1.0", "r1.1"]
    assert {action["parameters"]["extendedclaim"] for action in request.actions} == {CLAIM}
    for action in request.actions:
        parts = {key: action[key] for key in ("resourcetype", "actionid")}
        assert action["timestamp"] == int(NOW)
        assert action["hmac"] == signature(SECRET, timestamp=int(NOW), token=TOKEN, **parts)
    assert [outcome.verdict for outcome in reply.results] == [Verdict.OK, Verdict.OK]
    assert (reply.status, reply.retry_after, reply.skew, reply.message) == (200, None, None, "")
    assert 0 < reply.seconds < 5


def test_the_request_names_its_client_and_carries_no_credentials_in_headers() -> None:
    with scripted(answer_results()) as server:
        send(server)
    headers = server.requests[0].headers
    assert headers["user-agent"].startswith("onoffice-relations/")
    assert headers["content-type"] == "application/json"
    assert not {"authorization", "cookie"} & headers.keys()
    assert not any(secret in value for value in headers.values() for secret in (TOKEN, SECRET))


def test_the_connection_is_kept_and_cookies_are_not() -> None:
    with (
        scripted(answer_results(Set_Cookie="PHPSESSID=1; Path=/"), answer_results()) as server,
        closing(client(server)) as api,
    ):
        for _ in range(2):
            assert verdicts(api.send([CREATE], request_id="r", now=NOW)) == {Verdict.OK}
    assert server.connections == 1
    assert "cookie" not in server.requests[1].headers


def test_redirects_are_not_followed() -> None:
    with (
        scripted(answer_results()) as other,
        scripted(answer_bytes(b"", "301 Moved Permanently", Location=other.url)) as server,
    ):
        reply = send(server)
    assert (verdicts(reply), reply.status, other.requests) == ({Verdict.UNKNOWN}, 301, [])


def test_an_untrusted_certificate_ends_the_connection_before_anything_is_sent() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path(__file__).with_name("self_signed.pem"))
    with scripted(answer_results(), tls=tls) as server:
        reply = send(server)
    assert (verdicts(reply), server.requests) == ({Verdict.NOT_SENT}, [])
    assert "CERTIFICATE_VERIFY_FAILED" in reply.message


# --- answers that are none


@pytest.fixture
def closed_port() -> Iterator[str]:
    """Yield a URL where nobody listens, and which nobody else is given meanwhile."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}/"


def test_a_refused_connection_means_not_sent(closed_port: str) -> None:
    reply = send(closed_port, CREATE, DELETE)
    assert [(o.verdict, o.error) for o in reply.results] == [(Verdict.NOT_SENT, ErrorClass.TRANSIENT)] * 2
    assert reply.status == 0
    assert "ConnectError" in reply.message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid"])
def test_a_name_that_cannot_be_resolved_means_not_sent(host: str) -> None:
    assert verdicts(send(f"http://{host}/")) == {Verdict.NOT_SENT}


@pytest.mark.parametrize(
    "step",
    [
        reset,
        hang_up(),
        hang_up(after=b"HTTP/1.1 200 OK\r\n"),
        hang_up(after=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"),
        hang_up(after=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}"),
        hang_up(after=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        hang_up(after=b"\x00\x01\x02 what is this?\r\n\r\n"),
    ],
    ids=["reset", "end", "half headers", "half body", "half chunk", "no chunk", "no HTTP"],
)
def test_a_broken_answer_leaves_every_action_unknown(step: Step) -> None:
    with scripted(step) as server:
        reply = send(server, CREATE, DELETE)
    assert verdicts(reply) == {Verdict.UNKNOWN}
    assert len(reply.results) == 2
    assert reply.message
    assert len(server.requests) == 1, "a lost answer is never requested again by the client itself"


def test_a_connection_that_was_closed_while_idle_is_replaced_without_a_loss() -> None:
    closed = threading.Event()

    def once(connection: socket.socket, request: ReceivedRequest) -> None:
        answer_results()(connection, request)
        connection.close()
        closed.set()

    with scripted(once, answer_results()) as server, closing(client(server)) as api:
        assert verdicts(api.send([CREATE], request_id="r", now=NOW)) == {Verdict.OK}
        assert closed.wait(5)
        assert verdicts(api.send([CREATE], request_id="r", now=NOW)) == {Verdict.OK}
    assert server.connections == 2


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b""],
    ids=["headers", "body", "nonsense"],
)
def test_a_dripping_answer_ends_at_the_deadline(start: bytes) -> None:
    with scripted(drip(start)) as server:
        reply = send(server, timeout=0.2)
    assert verdicts(reply) == {Verdict.UNKNOWN}
    assert 0.2 <= reply.seconds < 1.5
    assert reply.message


def test_sending_to_a_peer_that_does_not_read_ends_at_the_deadline() -> None:
    huge, is_over = msgspec.structs.replace(CREATE, info=(("note", "x" * 2**24),)), threading.Event()

    def read_no_more(connection: socket.socket, request: ReceivedRequest) -> None:
        answer_results()(connection, request)
        is_over.wait(30)

    deadline = Deadline()
    with scripted(read_no_more) as server, connection_pool(deadline, 1) as pool:
        api = client(server, transport=pool)
        deadline.start(30)
        assert verdicts(api.send([CREATE], request_id="r", now=NOW)) == {Verdict.OK}
        deadline.start(0.3)  # with the connection made, however slow this machine is
        reply = api.send([huge], request_id="r", now=NOW)
        is_over.set()
    assert (verdicts(reply), len(server.requests)) == ({Verdict.UNKNOWN}, 1)
    assert "WriteTimeout" in reply.message


def test_a_request_whose_answer_was_there_before_it_left_does_not_leave_with_the_next() -> None:
    def answer_twice(connection: socket.socket, request: ReceivedRequest) -> None:
        connection.sendall(http(results(request)) + http(b"", "429 Too Many Requests"))

    with scripted(answer_twice, answer_results()) as server, closing(client(server)) as api:
        replies = [api.send([CREATE], request_id=each, now=NOW) for each in "abc"]
    assert [verdicts(reply) for reply in replies] == [{Verdict.OK}, {Verdict.NOT_SENT}, {Verdict.OK}]
    assert [request.actions[0]["identifier"] for request in server.requests] == ["a.0", "c.0"]


def test_an_answer_over_the_size_limit_is_unknown() -> None:
    with scripted(hang_up(after=http(b" " * (MAX_ANSWER + 1)))) as server:
        reply = send(server)
    assert (verdicts(reply), reply.status) == ({Verdict.UNKNOWN}, 200)
    assert str(MAX_ANSWER) in reply.message


GZIP, ZLIB = zlib.MAX_WBITS | 16, zlib.MAX_WBITS


@pytest.mark.parametrize(("coding", "format_"), [("gzip", GZIP), ("X-GZIP", GZIP), ("deflate", ZLIB)])
def test_an_answer_that_a_proxy_compresses_is_read_though_nobody_asked_it_to(
    coding: str, format_: int
) -> None:
    def answer(connection: socket.socket, request: ReceivedRequest) -> None:
        content = zlib.compress(results(request), wbits=format_)
        connection.sendall(http(content, Content_Encoding=coding))

    with scripted(answer) as server:
        reply = send(server)
    assert verdicts(reply) == {Verdict.OK}
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("content", [b"{}", b"\x1f\x8b", b""])
def test_an_answer_that_is_not_compressed_as_it_says_is_unknown(content: bytes) -> None:
    with scripted(answer_bytes(content, Content_Encoding="gzip")) as server:
        assert verdicts(send(server)) == {Verdict.UNKNOWN}


def test_an_answer_that_grows_over_the_size_limit_is_unknown() -> None:
    content = zlib.compress(b" " * (MAX_ANSWER + 1), wbits=GZIP)
    with scripted(answer_bytes(content, Content_Encoding="gzip")) as server:
        reply = send(server)
    assert verdicts(reply) == {Verdict.UNKNOWN}
    assert str(MAX_ANSWER) in reply.message


def test_a_gateways_page_is_unknown_and_reported_with_its_status() -> None:
    with scripted(answer_bytes(b"<html>Bad Gateway</html>", "502 Bad Gateway")) as server:
        reply = send(server)
    assert (verdicts(reply), reply.status, reply.message) == (
        {Verdict.UNKNOWN},
        502,
        "HTTP 502 without readable results",
    )


@pytest.mark.parametrize("wait", ["17", formatdate(NOW + 17, usegmt=True)])
def test_429_means_not_sent_and_carries_the_wait(wait: str) -> None:
    with scripted(
        answer_bytes(b"", "429 Too Many Requests", Retry_After=wait, Date=formatdate(NOW, usegmt=True))
    ) as server:
        reply = send(server)
    assert (verdicts(reply), reply.status, reply.retry_after) == ({Verdict.NOT_SENT}, 429, 17.0)


def test_a_broken_503_still_carries_the_wait() -> None:
    with scripted(
        hang_up(after=b"HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 10\r\n\r\n")
    ) as server:
        reply = send(server)
    assert (verdicts(reply), reply.status, reply.retry_after) == ({Verdict.UNKNOWN}, 503, 9.0)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_401_and_403_mean_rejected_credentials(status: str) -> None:
    with scripted(answer_bytes(b"no", status)) as server:
        (outcome,) = send(server).results
    assert (outcome.verdict, outcome.error) == (Verdict.REJECTED, ErrorClass.CREDENTIALS)


# --- the clock


def at(seconds: float) -> str:
    return formatdate(NOW + seconds, usegmt=True)


def strict(ahead: float, *, date: float | None = None) -> Step:
    """Return a step of an API with another clock that takes 120 s of difference; `date` is a wrong header."""

    def step(connection: socket.socket, request: ReceivedRequest) -> None:
        wrong = any(abs(action["timestamp"] - NOW - ahead) > 120 for action in request.actions)
        connection.sendall(
            http(results(request, 136 if wrong else 0), Date=at(ahead if date is None else date))
        )

    return step


@pytest.mark.parametrize("ahead", [900, -900])
def test_a_clock_that_is_off_is_learned_from_the_refusal_and_kept(ahead: int) -> None:
    with scripted(*[strict(ahead)] * 3) as server, closing(client(server)) as api:
        replies = [api.send([CREATE, DELETE], request_id="r", now=NOW) for _ in range(3)]
    assert list(map(verdicts, replies)) == [{Verdict.REJECTED}, {Verdict.OK}, {Verdict.OK}]
    assert len(server.requests) == 3, "nothing is signed again before its caller says so"
    assert api.offset == pytest.approx(ahead, abs=3)
    assert all(reply.skew == pytest.approx(ahead, abs=3) for reply in replies), (
        "the skew stays visible after it was learned"
    )


def test_a_skew_is_reported_but_not_learned_while_the_api_accepts_the_clock() -> None:
    with scripted(strict(60)) as server, closing(client(server)) as api:
        reply = api.send([CREATE], request_id="r", now=NOW)
    assert (verdicts(reply), api.offset) == ({Verdict.OK}, 0.0)
    assert reply.skew == pytest.approx(60, abs=3)


def test_a_date_that_did_not_help_is_followed_no_longer() -> None:
    with scripted(*[strict(900, date=5000)] * 2) as server, closing(client(server)) as api:
        offsets = []
        for _ in range(2):
            reply = api.send([CREATE], request_id="r", now=NOW)
            assert [(o.verdict, o.error, o.code) for o in reply.results] == [
                (Verdict.REJECTED, ErrorClass.CLOCK, 136)
            ]
            offsets.append(api.offset)
    assert offsets == [pytest.approx(5000, abs=3), 0.0]


def test_nothing_is_learned_from_a_clock_error_without_a_date() -> None:
    with scripted(answer_results(136)) as server:
        reply = send(server)
    assert [(o.verdict, o.error) for o in reply.results] == [(Verdict.REJECTED, ErrorClass.CLOCK)]
    assert (len(server.requests), reply.skew) == (1, None)


def test_a_clock_error_of_the_whole_request_is_learned_from_too() -> None:
    refusal = b'{"status": {"code": 400, "errorcode": 136, "message": "old"}, "response": {"results": []}}'
    with scripted(answer_bytes(refusal, Date=at(900))) as server, closing(client(server)) as api:
        api.send([CREATE], request_id="r", now=NOW)
    assert api.offset == pytest.approx(900, abs=3)


def test_a_clock_error_of_one_action_is_learned_from_too() -> None:
    def half(connection: socket.socket, request: ReceivedRequest) -> None:
        done = results(request).replace(
            b'"errorcode": 0, "message": ""', b'"errorcode": 136, "message": ""', 1
        )
        connection.sendall(http(done, Date=at(115)))

    with scripted(half) as server, closing(client(server)) as api:
        reply = api.send([CREATE, DELETE], request_id="r", now=NOW)
    assert [o.verdict for o in reply.results] == [Verdict.REJECTED, Verdict.OK]
    assert api.offset == pytest.approx(115, abs=3)


# --- borders


def test_every_exception_of_httpcore_is_translated() -> None:
    public = {item for item in vars(httpcore).values() if isinstance(item, type)}
    errors = {item for item in public if issubclass(item, Exception)}
    assert set[type[Exception]]().union(*map(subclasses, errors)) == set(VERDICTS)


def subclasses(root: type[Exception]) -> set[type[Exception]]:
    """Return the class and all below it."""
    return {root}.union(*(subclasses(child) for child in root.__subclasses__()))


def test_only_errors_before_a_connection_stood_mean_not_sent() -> None:
    before = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError"}
    assert {error.__name__ for error, verdict in VERDICTS.items() if verdict is Verdict.NOT_SENT} == before
    assert set(VERDICTS.values()) == {Verdict.NOT_SENT, Verdict.UNKNOWN}


class FailingTransport(httpcore.ConnectionInterface):
    """Raises instead of sending, or in the middle of the answer's body."""

    def __init__(self, error: Callable[[httpcore.Request], Exception], *, in_body: bool = False) -> None:
        self._error, self._in_body = error, in_body

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        error = self._error(request)
        if not self._in_body:
            raise error

        def body() -> Iterator[bytes]:
            yield b"{"
            raise error

        return httpcore.Response(200, content=body())


@pytest.mark.parametrize("in_body", [False, True])
@pytest.mark.parametrize("error", sorted(VERDICTS, key=lambda error: error.__name__))
def test_no_exception_of_httpcore_escapes(error: type[Exception], in_body: bool) -> None:
    reply = send("http://test/", transport=FailingTransport(lambda _: error("no"), in_body=in_body))
    assert verdicts(reply) == {VERDICTS[error]}
    assert reply.status == (200 if in_body else 0)
    assert reply.message == f"{error.__name__}: no"


def test_secrets_show_neither_in_the_client_nor_in_what_it_reports() -> None:
    def quote_request(request: httpcore.Request) -> Exception:
        body = b"".join(request.stream)
        return httpcore.ReadError(f"lost {body.decode()} of {SECRET}")

    with scripted(answer_results(22, f"who is {TOKEN} with {SECRET} and {CLAIM}?")) as server:
        replies = [
            send(server, extendedclaim=CLAIM),
            send("http://test/", transport=FailingTransport(quote_request), extendedclaim=CLAIM),
        ]
    shown = repr(replies) + repr(client("https://user:hunter2@test/", extendedclaim=CLAIM))
    assert not any(secret in shown for secret in (TOKEN, SECRET, CLAIM, "hunter2"))
    assert "***" in shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.onoffice.de",
        "ftp://host/",
        "https:///path",
        "https://host:port/",
        "https://u:pass\nword@host",
    ],
)
def test_an_invalid_url_is_an_error_of_the_settings_and_not_quoted(url: str) -> None:
    with pytest.raises(InvalidSettings, match="api_url: expected https://host/path") as caught:
        client(url)
    assert "word" not in str(caught.value)


def test_a_client_refuses_to_cross_a_fork() -> None:
    with closing(client("http://127.0.0.1:9/")) as api:
        child = os.fork()
        if child == 0:
            os._exit(refused(api))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def refused(api: Client) -> int:
    try:
        api.send([CREATE], request_id="r", now=NOW)
    except RuntimeError as error:
        return 0 if "fork" in str(error) else 1
    return 2
