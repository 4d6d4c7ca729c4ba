"""`Prefer: wait`: the answer comes when the jobs have ended, or in time without their end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from producers.portals.http.change_handler import MAX_WAIT, preferred_wait
from producers.portals.http.long_poll import MAX_JOBS, JobPoller, States
from tests.support.http_front import BUYER, MISSING, Front
from worker.errors import StoreUnavailable

MAX_COUNTDOWN = 20.0  # seconds in which everything here is over


async def run_inline(look: Callable[[], States]) -> States:
    return look()


def poller_of(look: Callable[[Sequence[str]], Mapping[str, Any]], **more: Any) -> JobPoller:
    return JobPoller(look, run=run_inline, **more)


def ended(
    look: Callable[[Sequence[str]], Mapping[str, Any]],
    jobs: list[set[str]],
    *,
    seconds: float = MAX_COUNTDOWN,
    **more: Any,
) -> list[Any]:
    async def wait_for_all() -> list[Any]:
        poller = poller_of(look, **more)
        waits: list[Awaitable[Any]] = [poller.wait_until_ended(group, seconds) for group in jobs]
        return await asyncio.gather(*waits)

    return asyncio.run(wait_for_all())


def request_with(*headers: str) -> Request:
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
def test_a_preference_is_read_as_its_rfc_says_and_anything_else_is_ignored(
    headers: tuple[str, ...], seconds: int
) -> None:
    assert preferred_wait(request_with(*headers)) == seconds


def test_all_who_wait_share_one_query_per_tick_about_the_jobs_still_open() -> None:
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


def test_a_wait_ends_in_time_or_with_the_server_and_does_not_begin_for_too_many_jobs() -> None:
    still = lambda jobs: dict.fromkeys(jobs, "queued")  # noqa: E731
    assert ended(still, [{"a"}], seconds=0.05) == [None]
    assert ended(still, [{"a"}, {"b"}], is_stopping=lambda: True) == [None, None]
    many = set(map(str, range(MAX_JOBS)))
    assert ended(lambda jobs: dict.fromkeys(jobs, "succeeded"), [many, {"x"}]) == [
        dict.fromkeys(many, "succeeded"),
        None,
    ]


def test_a_short_outage_of_redis_ends_no_wait() -> None:
    outages = [StoreUnavailable("away"), StoreUnavailable("away")]

    def look(jobs: Sequence[str]) -> Mapping[str, str]:
        if outages:
            raise outages.pop()
        return dict.fromkeys(jobs, "succeeded")

    assert ended(look, [{"a"}]) == [{"a": "succeeded"}]


def test_a_client_that_waits_learns_how_the_jobs_ended(front: Front, http: httpx.Client) -> None:
    body = [BUYER, {**BUYER, "childid": MISSING}]
    with ThreadPoolExecutor(1) as other:
        pending = other.submit(
            http.post, "/v1/changes", json=body, headers={"Prefer": "respond-async, wait=25"}, timeout=60
        )
        while not pending.done():
            front.runtime.flush("acme")
    answer = pending.result()
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=25")
    assert [job["state"] for job in answer.json()["jobs"]] == ["succeeded", "failed"]
    empty = http.post("/v1/changes", json=[], headers={"Prefer": "wait=25"})
    assert (empty.status_code, empty.json()) == (202, {"jobs": []})


def test_jobs_that_take_longer_are_accepted_as_usual(http: httpx.Client) -> None:
    answer = http.post("/v1/changes", json=BUYER, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    assert answer.json()["jobs"][0]["state"] == "queued"
    assert answer.headers["location"]


def test_whoever_asks_for_a_job_may_wait_for_its_end(front: Front, http: httpx.Client) -> None:
    [job] = http.post("/v1/changes", json={**BUYER, "childid": MISSING}).json()["jobs"]
    address = f"/v1/jobs/{job['id']}"
    with ThreadPoolExecutor(1) as other:
        pending = other.submit(http.get, address, headers={"Prefer": "wait=25"}, timeout=60)
        while not pending.done():
            front.runtime.flush("acme")
    for answer in (pending.result(), http.get(address, headers={"Prefer": "wait=25"})):
        assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=25")
        assert (answer.json()["state"], answer.json()["error"]["code"]) == ("failed", 80)
    assert "preference-applied" not in http.get(address).headers


def test_a_job_that_takes_longer_is_shown_as_it_is(http: httpx.Client) -> None:
    [job] = http.post("/v1/changes", json=BUYER).json()["jobs"]
    answer = http.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert "preference-applied" not in answer.headers
    assert http.get(f"/v1/jobs/acme-{'0' * 18}", headers={"Prefer": "wait=25"}).status_code == 404
