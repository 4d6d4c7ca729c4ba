"""`Prefer: wait`: who asks to be kept waiting learns how the jobs ended, or that they are accepted; nobody is kept for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from producers.portals.http.long_poll import MAX_JOBS, JobPoller, States
from producers.portals.http.requests import MAX_WAIT, preferred_wait
from tests.support.http_front import MISSING, Front
from worker.errors import StoreUnavailable

BUYER = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": 9001,
}
SOON = 20.0  # seconds in which everything here is over


async def at_once(look: Callable[[], States]) -> States:
    return look()


def waiting(look: Callable[[Sequence[str]], Mapping[str, Any]], **more: Any) -> JobPoller:
    return JobPoller(look, run=at_once, **more)


def ended(
    look: Callable[[Sequence[str]], Mapping[str, Any]],
    jobs: list[set[str]],
    *,
    seconds: float = SOON,
    **more: Any,
) -> list[Any]:
    async def all_of_them() -> list[Any]:
        poller = waiting(look, **more)
        asked: list[Awaitable[Any]] = [poller.wait_until_ended(each, seconds) for each in jobs]
        return await asyncio.gather(*asked)

    return asyncio.run(all_of_them())


def asking(*headers: str) -> Request:
    return Request({"type": "http", "headers": [(b"prefer", header.encode()) for header in headers]})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), 0),
        (("wait=5",), 5),
        (("respond-async, Wait = 7",), 7),
        (("return=minimal", 'wait="3"; x=y'), 3),
        (("wait=4, wait=9",), 4),
        (("wait=999999",), MAX_WAIT),
        (("wait=-1",), 0),
        (("wait=1.5",), 0),
        (("wait",), 0),
        (("await=5",), 0),
        (("wait=" + "9" * 400,), 0),
    ],
)
def test_a_wish_is_read_as_its_rfc_has_it_and_what_is_no_wish_is_ignored(
    headers: tuple[str, ...], seconds: int
) -> None:
    assert preferred_wait(asking(*headers)) == seconds


def test_whoever_waits_shares_one_look_per_tick_at_jobs_that_are_still_open() -> None:
    looks: list[list[str]] = []

    def look(jobs: Sequence[str]) -> Mapping[str, str]:
        looks.append(list(jobs))
        return {"a": "succeeded", "b": "failed" if len(looks) > 1 else "sending"}

    assert ended(look, [{"a"}, {"a", "b"}, {"b"}]) == [
        {"a": "succeeded"},
        {"a": "succeeded", "b": "failed"},
        {"b": "failed"},
    ]
    assert looks == [["a", "b"], ["b"]]


def test_nobody_is_kept_longer_than_asked_nor_by_a_server_that_leaves_nor_for_more_jobs_than_are_looked_at() -> (
    None
):
    still = lambda jobs: dict.fromkeys(jobs, "queued")  # noqa: E731
    assert ended(still, [{"a"}], seconds=0.05) == [None]
    assert ended(still, [{"a"}, {"b"}], is_stopping=lambda: True) == [None, None]
    many = set(map(str, range(MAX_JOBS)))
    assert ended(lambda jobs: dict.fromkeys(jobs, "succeeded"), [many, {"x"}]) == [
        dict.fromkeys(many, "succeeded"),
        None,
    ]


def test_a_redis_that_is_away_for_a_moment_ends_nobodys_waiting() -> None:
    troubles = [StoreUnavailable("away"), StoreUnavailable("away")]

    def look(jobs: Sequence[str]) -> Mapping[str, str]:
        if troubles:
            raise troubles.pop()
        return dict.fromkeys(jobs, "succeeded")

    assert ended(look, [{"a"}]) == [{"a": "succeeded"}]


def test_who_asks_to_wait_is_told_how_the_jobs_ended(front: Front, http: httpx.Client) -> None:
    body = [BUYER, {**BUYER, "childid": MISSING}]
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(
            http.post, "/v1/changes", json=body, headers={"Prefer": "respond-async, wait=25"}, timeout=60
        )
        while not asked.done():
            front.runtime.flush("acme")
    answer = asked.result()
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=25")
    assert [job["state"] for job in answer.json()["jobs"]] == ["succeeded", "failed"]
    again = http.post("/v1/changes", json=[], headers={"Prefer": "wait=25"})
    assert (again.status_code, again.json()) == (202, {"jobs": []})


def test_jobs_that_take_longer_are_accepted_as_usual(http: httpx.Client) -> None:
    answer = http.post("/v1/changes", json=BUYER, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    assert answer.json()["jobs"][0]["state"] == "queued"
    assert answer.headers["location"]
