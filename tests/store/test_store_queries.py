"""Laws of what can be asked: lists by filter and cursor, failures by error, requests; on a real server and in memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.store_steps import accept, claim_all, queries_of, send_and_settle, take_lease
from tests.support.store_values import (
    BROKER,
    BUYER,
    MONTH,
    NO_LIMIT,
    REFUSED,
    START,
    change,
    make_request,
    make_request_record,
    submission,
)
from worker.clock import IdGenerator
from worker.contract import Change, Relation
from worker.planner.apply_reply import RelationOutcome
from worker.planner.relation_state import Refusal
from worker.ports import OPEN_STATES, JobFilter, JobRecord, Queries, Store, Writes
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock, MemoryStore

HOUR = 3_600_000_000  # µs
REFUSALS = (REFUSED, Refusal(160, "record", "gone"), Refusal(0, "poison", ""))

asked = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, HOUR]),  # µs after the one before
        st.builds(
            change,
            st.sampled_from([1, 12, 2]),
            st.sampled_from([9, 10]),
            st.sampled_from([11, 99]),
            name=st.sampled_from([BUYER, BROKER]),
            source=st.sampled_from(["", "portal"]),
            batch=st.sampled_from(["", "import"]),
        ),
        st.sampled_from(["queued", "sending", "applied", "failed", "failed"]),
    ),
    max_size=12,
)
filters = st.builds(
    JobFilter,
    state=st.sampled_from(["", "", "failed", "queued", "succeeded", "sending"]),
    type=st.sampled_from(["", BUYER, BROKER]),
    parent=st.sampled_from([0, 0, 1, 2]),
    child=st.sampled_from([0, 0, 9, 99]),
    error=st.sampled_from(["", "", "160", "record", "poison", "0", "none"]),
    source=st.sampled_from(["", "", "portal"]),
    batch=st.sampled_from(["", "", "import"]),
    since=st.sampled_from([0, 0, START, START + HOUR, START + HOUR + 1]),
    until=st.sampled_from([0, 0, START + 1, START + HOUR, START + 2 * HOUR]),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=settings().max_examples // 2
)
@given(made=asked, wanted=filters, limit=st.integers(1, 3))
@example(
    made=[(0, change(1, 9), "failed"), (1, change(1, 9), "failed")], wanted=JobFilter(error="78"), limit=1
)
@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_pages_hold_every_job_that_fits_once_newest_first(
    redis_client: Redis, kind: str, made: list[Any], wanted: JobFilter, limit: int
) -> None:
    redis_client.flushall()
    clock = FakeClock(START)
    store: Store = (
        MemoryStore(clock.now) if kind == "memory" else RedisStore(redis_client, "t", now=clock.now)
    )
    fill(store, clock, made)
    everything = [job for page in pages(queries_of(store), JobFilter(), 500) for job in page]
    assert len(everything) == len(made)
    found = list(pages(queries_of(store), wanted, limit))
    assert all(len(page) <= limit for page in found)
    assert [job for page in found for job in page] == [job for job in everything if fits(job, wanted)]
    states = queries_of(store).count_by_state("acme")
    assert {state: states[state] for state in OPEN_STATES} == {
        state: sum(job.state == state for job in everything) for state in OPEN_STATES
    }


def test_a_page_examines_a_bounded_number_of_entries_and_says_where_to_go_on(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store.queries.MAX_EXAMINED", 3)
    monkeypatch.setattr("worker.testing.queries.MAX_EXAMINED", 3)
    accept(store, change(7, 9), *(change(number, 9) for number in range(100, 109)))
    found = list(pages(queries_of(store), JobFilter(parent=7), 5))
    assert [len(page) for page in found] == [0, 0, 0, 1]


def test_failures_are_grouped_by_error_and_type_and_a_replay_takes_them_out(
    store: Store, clock: FakeClock
) -> None:
    fill(
        store,
        clock,
        [
            (0, change(1, 9), "failed"),
            (HOUR, change(2, 9), "failed"),
            (HOUR, change(3, 9, name=BROKER), "failed"),
        ],
    )
    groups = {(each.code, each.type): each for each in queries_of(store).failure_groups("acme")}
    assert {key: each.jobs for key, each in groups.items()} == {
        (78, BUYER): 1,
        (160, BUYER): 1,
        (0, BROKER): 1,
    }
    assert (groups[160, BUYER].error, groups[160, BUYER].last) == ("record", START + HOUR)
    assert queries_of(store).count_by_state("acme")["unresolved"] == 3
    store.requeue("acme", [groups[160, BUYER].example])
    assert {(each.code, each.type) for each in queries_of(store).failure_groups("acme")} == {
        (78, BUYER),
        (0, BROKER),
    }
    assert queries_of(store).count_by_state("acme")["unresolved"] == 2


def test_jobs_are_asked_for_their_states_together_and_those_that_are_not_there_are_left_out(
    store: Store, clock: FakeClock
) -> None:
    fill(
        store, clock, [(0, change(1, 9), "failed"), (0, change(2, 9), "applied"), (0, change(3, 9), "queued")]
    )
    known = {job.id: job.state for page in pages(queries_of(store), JobFilter(), 500) for job in page}
    assert sorted(known.values()) == ["failed", "queued", "succeeded"]
    assert queries_of(store).get_states([*known, "acme-gone", "nobody-1"]) == known
    assert queries_of(store).get_states([]) == {}


def test_requests_come_newest_first_by_cursor(store: Store, clock: FakeClock) -> None:
    accept(store, change(1, 9))
    held = take_lease(store)
    claim_all(held)
    for number in range(5):
        request = make_request([Relation(BUYER, 1, 9)])
        signed = held.begin(f"r{number}", request)
        assert isinstance(signed, int)
        held.settle(f"r{number}", Writes(request=make_request_record(f"r{number}", request, signed)))
    ask = queries_of(store)
    first = ask.list_requests("acme", limit=2)
    second = ask.list_requests("acme", limit=2, cursor=first.next)
    last = ask.list_requests("acme", limit=2, cursor=second.next)
    assert [[each.id for each in page.requests] for page in (first, second, last)] == [
        ["r4", "r3"],
        ["r2", "r1"],
        ["r0"],
    ]
    assert last.next == ""


def fill(store: Store, clock: FakeClock, made: list[tuple[int, Change, str]]) -> None:
    """The changes accepted one after the other, each taken as far as it is to come."""
    names = IdGenerator(lambda: clock.now() // 1000, lambda size: bytes(size))
    for number, (later, one, fate) in enumerate(made):
        clock.sleep(later / 1e6)
        job = f"{names()[:-3]}{number:03d}"
        store.accept("acme", [submission(job, one)], max_backlog=NO_LIMIT, oldest=MONTH)
        if fate != "queued" and all(each[2] != "queued" for each in made[:number]):
            work_off(store, one, fate, REFUSALS[number % 3])


def work_off(store: Store, one: Change, fate: str, refusal: Refusal) -> None:
    """The only job of the inbox taken, and perhaps ended."""
    held = take_lease(store)
    [job] = claim_all(held).jobs
    if fate == "applied":
        send_and_settle(held, f"r{job.job}", dict.fromkeys(one.relations, "applied"))
    if fate == "failed":
        held.begin(f"r{job.job}", make_request(one.relations))
        held.settle(
            f"r{job.job}",
            Writes(
                outcomes=[RelationOutcome(job.job, each, "failed", "", refusal) for each in one.relations]
            ),
        )
    held.release()


def pages(ask: Queries, wanted: JobFilter, limit: int) -> Iterator[tuple[JobRecord, ...]]:
    """One page after the other, to the end."""
    cursor = ""
    while True:
        page = ask.find_jobs("acme", wanted, limit=limit, cursor=cursor)
        yield page.jobs
        if not page.next:
            return
        cursor = page.next


def fits(job: JobRecord, wanted: JobFilter) -> bool:
    """What a filter means."""
    refusal = job.refusal or (0, "other", "", "")
    return all(
        (
            not wanted.state or job.state == wanted.state,
            not wanted.type or job.type == wanted.type,
            not wanted.parent or wanted.parent in job.parents,
            not wanted.child or wanted.child in job.children,
            not wanted.error or (job.state == "failed" and wanted.error in (str(refusal[0]), refusal[1])),
            not wanted.source or job.source == wanted.source,
            not wanted.batch or job.batch == wanted.batch,
            not wanted.since or job.accepted_at >= wanted.since,
            not wanted.until or job.accepted_at < wanted.until,
        )
    )
