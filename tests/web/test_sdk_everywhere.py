"""The Python clients over Redis and for `await`, and the examples of all their docstrings."""

import asyncio
import doctest
import os
import subprocess
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import httpx
import pytest

from producers.errors import Forbidden
from producers.portals import AsyncRelations, Relations, Sent
from producers.portals.sdk import client
from tests.support.http_front import KEYS, Front
from tests.support.waiting import HANGS_AFTER
from worker.contract import MessageDict, from_message
from worker.errors import InvalidChange, NotFound, RelationsError, StoreUnavailable, Unavailable
from worker.testing import FakeClock
from worker.wiring import Runtime

BUYER = "estate:address:buyer"
LINK: MessageDict = {
    "account": "acme",
    "action": "create",
    "relationtype": BUYER,
    "parentid": 1,
    "childid": 1,
}
LINKS: list[MessageDict] = [{**LINK, "childid": child} for child in range(1, 2101)]


@pytest.fixture
def direct(front: Front) -> Relations:
    """Return a client that writes straight to the interface's own Redis."""
    return Relations.connect(front.runtime, account="acme")


@pytest.fixture
def http(front: Front) -> Iterator[Relations]:
    """Yield a client that speaks HTTP to it."""
    with Relations(front.url, KEYS["portal"][0], account="acme") as relations:
        yield relations


def test_the_examples_of_the_docstrings_work(front: Front, http: Relations) -> None:
    names = {
        "url": front.url,
        "key": KEYS["portal"][0],
        "settings": front.runtime.settings,
        "relations": http,
    }
    tests = [
        test
        for test in doctest.DocTestFinder().find(client, globs={**vars(client), **names})
        if test.examples
    ]
    assert tests
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        front.runtime.client.flushall()
        assert runner.run(test).failed == 0, test.name


def test_both_transports_lead_to_the_same_jobs(direct: Relations, http: Relations) -> None:
    sent = direct.create(BUYER, 501, [9001, 9002], event_id="mine", batch="b-1")
    assert http.create(BUYER, 501, [9001, 9002], event_id="mine") == (sent.id, "queued", True)
    assert direct.create(BUYER, 501, [9001, 9002], event_id="mine") == (sent.id, None, True)
    assert direct.job(sent.id) == http.job(sent.id)
    assert direct.batch("acme", "b-1") == http.batch("acme", "b-1")


@pytest.mark.parametrize("way", ["direct", "http"])
def test_faults_of_many_changes_have_positions_among_all(request: pytest.FixtureRequest, way: str) -> None:
    relations: Relations = request.getfixturevalue(way)
    with pytest.raises(InvalidChange) as raised:
        relations.send([*LINKS[:2050], {**LINK, "parentid": 0}])
    assert [fault.location for fault in raised.value.faults] == ["[2050].parentid"]
    assert relations.send(LINKS[:1])[0].duplicate is False


def test_an_error_carries_what_was_accepted_before_it(http: Relations) -> None:
    with pytest.raises(InvalidChange) as raised:
        http.send([*LINKS[:2050], {**LINK, "parentid": 0}])
    assert len(raised.value.accepted) == 2000
    assert http.job(raised.value.accepted[-1].id)["state"] == "queued"


@pytest.mark.parametrize("way", ["direct", "http"])
def test_each_thousand_is_accepted_or_not_also_of_several_accounts(
    request: pytest.FixtureRequest, front: Front, way: str
) -> None:
    relations: Relations = request.getfixturevalue(way)
    to_beta: MessageDict = {**LINK, "account": "beta"}
    with pytest.raises(InvalidChange) as raised:
        relations.send([to_beta, *LINKS[:1999], {**to_beta, "action": "modify"}])
    assert [fault.location for fault in raised.value.faults] == ["[2000].relationinfo"]
    assert (front.store.counts("acme")["backlog"], front.store.counts("beta")["backlog"]) == (1999, 1)


@pytest.mark.parametrize("way", ["direct", "http"])
@pytest.mark.parametrize("account", [["acme"], {}, 7])
def test_an_account_that_is_no_text_is_a_fault(
    request: pytest.FixtureRequest, way: str, account: Any
) -> None:
    relations: Relations = request.getfixturevalue(way)
    with pytest.raises(InvalidChange) as raised:
        relations.send([LINK, {**LINK, "account": account}])
    assert [fault.location for fault in raised.value.faults] == ["[1].account"]


@pytest.mark.parametrize("way", ["direct", "http"])
def test_what_cannot_be_written_as_utf_8_is_an_error_of_ours(
    request: pytest.FixtureRequest, way: str
) -> None:
    relations: Relations = request.getfixturevalue(way)
    for ask in (
        lambda: relations.job("acme-\ud800"),
        lambda: relations.wait("acme-\ud800", timeout=0),
        lambda: relations.batch("acme", "\udcff"),
    ):
        with pytest.raises(RelationsError, match="cannot be asked"):
            ask()


def test_many_changes_are_accepted_in_order_over_redis(direct: Relations, front: Front) -> None:
    change = from_message({**LINK, "account": "beta"}).change
    sent = [*direct.send(LINKS[:3]), *direct.send([change])]
    assert [front.job(each.id).children[0] for each in sent] == [1, 2, 3, 1]
    front.runtime.flush("acme")
    assert {job["state"] for job in direct.wait([each.id for each in sent[:3]])} == {"succeeded"}


def test_an_unknown_job_or_batch_is_not_found(direct: Relations, http: Relations) -> None:
    for relations in (direct, http):
        with pytest.raises(NotFound):
            relations.job("acme-nothing")
        with pytest.raises(NotFound):
            relations.batch("acme", "nothing")


def test_a_label_may_have_any_character_and_is_shown_to_keys_of_the_account(
    front: Front, http: Relations
) -> None:
    http.create(BUYER, 1, 2, batch="spring/2026 ü?")
    counted = http.batch("acme", "spring/2026 ü?")
    assert counted == {
        "account": "acme",
        "batch": "spring/2026 ü?",
        "accepted": 1,
        "open": 1,
        "succeeded": 0,
        "superseded": 0,
        "failed": 0,
    }
    with Relations(front.url, KEYS["acme"][0]) as foreign, pytest.raises(Forbidden):
        foreign.batch("beta", "spring")
    assert front.client().get("/v1/batches/x").status_code == 422


def test_a_store_that_is_away_is_waited_for_until_the_timeout(front: Front) -> None:
    settings, clock = front.runtime.settings, FakeClock()
    away = Runtime(replace(settings, redis_url="redis://127.0.0.1:1/0"), wake=lambda *_: None)
    with (
        Relations.connect(away, account="acme", timeout=1, clock=clock) as relations,
        pytest.raises(StoreUnavailable),
    ):
        relations.create(BUYER, 1, 2)
    assert 0 <= clock.monotonic() <= 1


def test_the_async_client_repeats_calls_like_the_blocking_one(front: Front) -> None:
    answers = [
        httpx.Response(503),
        httpx.Response(202, json={"jobs": [{"id": "acme-1", "state": "queued", "duplicate": False}]}),
    ]
    slept: list[float] = []

    async def note(seconds: float) -> None:
        slept.append(seconds)

    async def scene() -> str:
        transport = httpx.MockTransport(lambda _: answers.pop(0))
        async with AsyncRelations(
            "http://here", "key", account="acme", transport=transport, sleep=note
        ) as relations:
            return (await relations.create(BUYER, 1, 2)).id

    assert asyncio.run(scene()) == "acme-1"
    assert len(slept) == 1


def test_the_async_client_waits_for_jobs(front: Front) -> None:
    async def scene() -> list[str]:
        async with AsyncRelations(front.url, KEYS["portal"][0], account="acme") as relations:
            sent = await asyncio.gather(
                *(relations.create(BUYER, 1, child) for child in (1, 2)), relations.delete(BUYER, 1, 3)
            )
            await asyncio.to_thread(front.runtime.flush, "acme")
            return [job["state"] for job in await relations.wait([each.id for each in sent])]

    assert asyncio.run(scene()) == ["succeeded"] * 3


def test_http_needs_neither_celery_nor_redis(front: Front) -> None:
    code = (
        "import sys; from producers.portals import Relations\n"
        "relations = Relations(sys.argv[1], sys.argv[2], account='acme')\n"
        "print(relations.create('estate:address:buyer', 1, 2).state)\n"
        "print(sorted({'celery', 'kombu', 'redis', 'starlette', 'structlog'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, front.url, KEYS["portal"][0]],
        capture_output=True,
        text=True,
        check=True,
        timeout=HANGS_AFTER,
    )
    assert result.stdout.split("\n")[:2] == ["queued", "[]"]


FORKING = """
import asyncio, os, sys
from producers.portals import AsyncRelations, Relations

url, key = sys.argv[1:]
http, direct = Relations(url, key, account="acme"), Relations.connect(account="acme")
awaiting = AsyncRelations(url, key, account="acme")
create = lambda relations, child: relations.create("estate:address:buyer", 1, child)

def send(first):
    for child in range(first, first + 25):
        sent = [create(http, child), create(direct, child)]
        sent += [asyncio.run(send_one(child))] if child == first else []
        assert all(http.job(each.id)["childid"] == [child] for each in sent), child

async def send_one(child):
    async with AsyncRelations(url, key, account="acme") as relations:
        return await create(relations, child)

def run_child(first):
    try:
        send(first)
        asyncio.run(create(awaiting, first))
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
        os._exit(1)
    os._exit(0)

send(1)
asyncio.run(create(awaiting, 1))
children = [pid for first in (1000, 2000, 3000, 4000) if (pid := os.fork() or run_child(first))]
send(5000)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
http.close(), direct.close()
"""


def test_a_client_that_was_used_before_a_fork_starts_anew_in_each_process(front: Front) -> None:
    settings = front.runtime.settings
    env = {**os.environ, "RELATIONS_CONFIG": str(settings.file), "RELATIONS_REDIS_URL": settings.redis_url}
    result = subprocess.run(
        [sys.executable, "-c", FORKING, front.url, KEYS["portal"][0]],
        env=env,
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
    )
    assert result.stdout == "[0, 0, 0, 0]\n", result.stdout + result.stderr


def test_a_client_of_another_event_loop_says_so() -> None:
    async def create() -> Sent:
        return await relations.create(BUYER, 1, 2)

    transport = httpx.MockTransport(lambda _: httpx.Response(**GOOD))
    relations = AsyncRelations("http://here", "key", account="acme", transport=transport)
    assert asyncio.run(create()).id == "acme-1"
    for again in (create(), relations.close()):
        with pytest.raises(RelationsError, match="used in another event loop; make one in each"):
            asyncio.run(again)


def test_whatever_the_libraries_raise_is_an_error_of_ours(front: Front) -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise OSError("no such library")

    closed = Relations(front.url, KEYS["portal"][0], account="acme")
    closed.close()
    for relations, text in (
        (closed, "this client is closed"),
        (Relations("http://here", "key", transport=httpx.MockTransport(broken)), "OSError: no such library"),
    ):
        with pytest.raises(RelationsError, match=text):
            relations.create(BUYER, 1, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [(object(), "object is no type of JSON"), ("\ud800", "surrogates"), ({1: {}}, "got an object")],
)
def test_what_cannot_be_sent_is_a_fault_of_its_change(http: Relations, value: Any, text: str) -> None:
    with pytest.raises(InvalidChange, match=text) as raised:
        http.send([LINK, {**LINK, "batch": value}, LINK])
    assert {fault.place for fault in raised.value.faults} == {1}
    unusable: Any = ["change", LINK]
    with pytest.raises(InvalidChange, match="expected a change"):
        http.send(unusable)


@pytest.mark.parametrize("way", ["direct", "http"])
def test_numbers_of_python_are_ids_whatever_their_type(request: pytest.FixtureRequest, way: str) -> None:
    relations: Relations = request.getfixturevalue(way)
    numbers: Any = [1.0, Decimal(2), Fraction(3), 4]
    assert relations.job(relations.create(BUYER, 1, numbers).id)["childid"] == [1, 2, 3, 4]


class OwnText(str):
    """A text as lxml and numpy have it."""

    __slots__ = ()


@pytest.mark.parametrize("way", ["direct", "http"])
@pytest.mark.parametrize(
    "ids", [array("q", [1, 2]), range(1, 3), dict.fromkeys([1, 2]).keys(), deque([1, 2.0]), frozenset([1, 2])]
)
def test_whatever_holds_ids_is_a_list_of_them_as_a_column_of_pandas(
    request: pytest.FixtureRequest, way: str, ids: Any
) -> None:
    relations: Relations = request.getfixturevalue(way)
    sent = relations.create(OwnText(BUYER), 1, ids, batch=OwnText("spring"))
    job = relations.job(sent.id)
    assert (sorted(job["childid"]), job["batch"]) == ([1, 2], "spring")


class Name(str, Enum):  # noqa: UP042 is about another, whose members are written as they are
    """Texts of a program: `format` writes `Name.LABEL`, not what it stands for."""

    BUYER = BUYER
    LABEL = "autumn"
    GIVEN = "gesendet"


@pytest.mark.parametrize("way", ["direct", "http"])
@pytest.mark.parametrize("kind", [OwnText, Name])
def test_a_text_of_a_type_of_its_own_is_what_it_stands_for(
    request: pytest.FixtureRequest, way: str, kind: type[str]
) -> None:
    relations: Relations = request.getfixturevalue(way)
    label, info = kind("autumn"), {"statusTerminbestaetigung": kind("gesendet")}
    sent = relations.modify("calendar:address", 1, 2, relationinfo=info, batch=label, event_id=label)
    job = relations.job(sent.id)
    assert (job["batch"], job["event_id"], job["relationinfo"]) == ("autumn", "autumn", {**info})
    for name in ("autumn", label):
        assert relations.batch("acme", name)["accepted"] == 1


class NoDimension:
    """An array of numpy that is one number: it says that it has items, and has none."""

    def __len__(self) -> int:
        raise TypeError("len() of unsized object")

    def __contains__(self, item: object) -> bool:
        return False

    def __iter__(self) -> Iterator[int]:
        raise TypeError("iteration over a 0-d array")


@pytest.mark.parametrize("way", ["direct", "http"])
@pytest.mark.parametrize("ids", [b"12", bytearray(b"12"), iter([1, 2]), NoDimension()])
def test_bytes_and_what_can_be_read_once_are_no_list_of_ids(
    request: pytest.FixtureRequest, way: str, ids: Any
) -> None:
    relations: Relations = request.getfixturevalue(way)
    with pytest.raises(InvalidChange):
        relations.create(BUYER, 1, ids)


Response = dict[str, Any]
GOOD: Response = {
    "status_code": 202,
    "json": {"jobs": [{"id": "acme-1", "state": "queued", "duplicate": False}]},
}
PROBLEM = {"Content-Type": "application/problem+json"}
JSON = {"Content-Type": "application/json"}
CURABLE: list[Response] = [
    {"status_code": 202, "headers": JSON, "content": b'{"jobs": [{"id"'},
    {
        "status_code": 202,
        "headers": {"Content-Encoding": "gzip"},
        "stream": httpx.ByteStream(b"nothing of gzip"),
    },
    {"status_code": 503, "headers": PROBLEM, "content": b'{"detail": "Redis is a'},
    {"status_code": 503, "headers": PROBLEM, "json": ["away"]},
    {"status_code": 502, "html": "<html>"},
    {"status_code": 522, "html": "<html>"},
    {"status_code": 429, "headers": {"Retry-After": "soon"}, "json": {"detail": 7}},
    {"status_code": 408, "headers": PROBLEM, "json": {"detail": "too slow"}},
]
HOPELESS: list[tuple[Response, str]] = [
    ({"status_code": 200, "html": "<html>"}, "HTTP 200, text/html"),
    ({"status_code": 204}, "HTTP 204"),
    ({"status_code": 202, "json": []}, "expected `object`"),
    ({"status_code": 202, "json": {"id": "acme-1"}}, "`jobs`"),
    (
        {"status_code": 202, "json": {"jobs": [{"id": 1, "state": None, "duplicate": True}]}},
        r"`\$\.jobs\[0\]\.id`",
    ),
    ({"status_code": 202, "json": {"jobs": []}}, "0 jobs for 1 changes"),
    ({"status_code": 302, "headers": {"Location": "https://there"}}, "HTTP 302"),
    ({"status_code": 422, "headers": PROBLEM, "json": {"errors": [{"path": 1}]}}, "HTTP 422"),
    ({"status_code": 422, "headers": PROBLEM, "json": {"errors": 5}}, "HTTP 422"),
    ({"status_code": 500, "headers": PROBLEM, "content": b'{"det'}, "HTTP 500"),
]


async def do_not_sleep(_: float) -> None:
    """Return at once."""


def create(
    kind: type[Relations | AsyncRelations], answering: Callable[[httpx.Request], httpx.Response]
) -> Sent:
    """Return what either client makes of these answers."""
    if kind is Relations:
        return Relations(
            "http://here", "key", account="acme", transport=httpx.MockTransport(answering), clock=FakeClock()
        ).create(BUYER, 1, 2)
    relations = AsyncRelations(
        "http://here", "key", account="acme", transport=httpx.MockTransport(answering), sleep=do_not_sleep
    )
    return asyncio.run(relations.create(BUYER, 1, 2))


@pytest.mark.parametrize("kind", [Relations, AsyncRelations])
@pytest.mark.parametrize("broken", CURABLE)
def test_after_a_broken_or_late_response_the_same_change_is_sent_again(
    kind: type[Relations | AsyncRelations], broken: Response
) -> None:
    left, asked = [broken, GOOD], list[bytes]()

    def answering(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return httpx.Response(**left.pop(0))

    assert create(kind, answering) == ("acme-1", "queued", False)
    assert len(asked) == 2
    assert len(set(asked)) == 1
    assert b"event_id" in asked[0]


@pytest.mark.parametrize("kind", [Relations, AsyncRelations])
@pytest.mark.parametrize(("answer", "text"), HOPELESS)
def test_a_response_that_repeating_cannot_cure_is_an_error_that_explains_it(
    kind: type[Relations | AsyncRelations], answer: Response, text: str
) -> None:
    with pytest.raises(RelationsError, match=f"(?i){text}") as raised:
        create(kind, lambda _: httpx.Response(**answer))
    assert not isinstance(raised.value, Unavailable)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"id": "acme-1"}', b'{"open": "no"}', b"null"])
def test_a_response_that_is_no_job_or_batch_is_an_error(content: bytes) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=JSON, content=content))
    relations = Relations("http://here", "key", transport=transport, clock=FakeClock())
    for ask in (
        lambda: relations.job("acme-1"),
        lambda: relations.batch("acme", "b-1"),
        lambda: relations.wait("acme-1"),
    ):
        with pytest.raises(RelationsError, match="is this its address"):
            ask()
