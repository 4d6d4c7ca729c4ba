"""Laws of the queries, on Redis and in memory: lists by filter and cursor, failures by error, requests."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.store_steps import (
    accept,
    claim_all,
    count_by_state,
    metrics_of,
    queries_of,
    send_and_settle,
    take_lease,
)
from tests.support.store_values import (
    BROKER,
    BUYER,
    MONTH,
    NO_LIMIT,
    REFUSED,
    START,
    change,
    look_up_results,
    make_request,
    make_request_record,
    name_by_references,
    submission,
)
from worker.contract import Change, Relation
from worker.errors import Invalid
from worker.ids import IdGenerator
from worker.planner.apply_reply import RelationOutcome
from worker.planner.relation_state import Refusal
from worker.ports.queries import Queries
from worker.ports.records import OPEN_STATES, JobFilter, JobRecord
from worker.ports.store import IntakeBounds, Retention, Store
from worker.ports.work import Writes
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock, MemoryStore

HOUR = 3_600_000_000  # µs
LOCKED = Refusal(170, "record", "locked")
REFUSALS = (REFUSED, Refusal(160, "record", "gone"), Refusal(0, "poison", ""))

change_lists = st.lists(
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
        st.sampled_from(["queued", "parked", "sending", "retrying", "applied", "failed", "failed"]),
    ),
    max_size=12,
)
filters = st.builds(
    JobFilter,
    state=st.sampled_from(["", "", "failed", "succeeded", *OPEN_STATES]),
    type=st.sampled_from(["", BUYER, BROKER]),
    parent=st.sampled_from([0, 0, 1, 2]),
    child=st.sampled_from([0, 0, 9, 99]),
    error=st.sampled_from(["", "", "160", "record", "poison", "0", "none"]),
    source=st.sampled_from(["", "", "portal"]),
    batch=st.sampled_from(["", "", "import"]),
    event_id=st.sampled_from(["", "", "", "e0", "e1"]),
    since=st.sampled_from([0, 0, START, START + HOUR, START + HOUR + 1]),
    until=st.sampled_from([0, 0, START + 1, START + HOUR, START + 2 * HOUR]),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=settings().max_examples // 2
)
@given(
    made=change_lists,
    wanted=filters,
    limit=st.integers(1, 3),
    looked_at=st.lists(st.sampled_from([0, 1000]), min_size=1, max_size=3),
)
@example(
    made=[(0, change(1, 9), "failed"), (1, change(1, 9), "failed")],
    wanted=JobFilter(error="78"),
    limit=1,
    looked_at=[0],
)
@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_pages_have_every_matching_job_once_newest_first(
    redis_client: Redis, kind: str, made: list[Any], wanted: JobFilter, limit: int, looked_at: list[int]
) -> None:
    """Whether the open jobs are few enough to look at each, for one page and not for the next."""
    redis_client.flushall()
    clock = FakeClock(START)
    store: Store = (
        MemoryStore(clock.now) if kind == "memory" else RedisStore(redis_client, "t", now=clock.now)
    )
    fill(store, clock, made)
    everything = [job for page in pages(queries_of(store), JobFilter(), 500) for job in page]
    assert len(everything) == len(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.store.places.PIECE", 1)
        found, most = [], cycle(looked_at)
        patch.setattr("worker.store.job_search.MAX_OPEN", next(most))
        for page in pages(queries_of(store), wanted, limit):
            found.append(page)
            patch.setattr("worker.store.job_search.MAX_OPEN", next(most))
    assert all(len(page) <= limit for page in found)
    assert [job for page in found for job in page] == [job for job in everything if matches(job, wanted)]
    states = count_by_state(metrics_of(store), "acme")
    assert {state: states[state] for state in OPEN_STATES} == {
        state: sum(job.state == state for job in everything) for state in OPEN_STATES
    }


def test_a_page_examines_a_bounded_number_of_entries_and_has_a_cursor(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store.job_search.MAX_EXAMINED", 3)
    accept(store, change(7, 9), *(change(number, 9) for number in range(100, 109)))
    found = list(pages(queries_of(store), JobFilter(parent=7), 5))
    assert [len(page) for page in found] == [0, 0, 0, 1]


@pytest.mark.parametrize("wanted", [JobFilter(batch="spring"), JobFilter(batch="spring", state="queued")])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_list_of_a_batch_ends_with_the_last_job_of_the_batch(
    store: Store, monkeypatch: pytest.MonkeyPatch, wanted: JobFilter, limit: int
) -> None:
    monkeypatch.setattr("worker.store.job_search.MAX_EXAMINED", 3)
    monkeypatch.setattr("worker.store.job_search.MAX_OPEN", 0)
    others = [change(number, 9) for number in range(100, 130)]
    accept(store, *others[:20], change(1, 9, batch="spring"), others[20], change(2, 9, batch="spring"))
    accept(store, *others[21:], first=30)
    found = list(pages(queries_of(store), wanted, limit))
    assert [job.parents for page in found for job in page] == [(2,), (1,)]
    assert len(found) <= 6, "eight pages of three have the rest"


def test_the_counts_of_a_batch_live_as_long_as_any_of_its_jobs(redis_client: Redis, clock: FakeClock) -> None:
    store = RedisStore(redis_client, "t", keep=lambda _: Retention(200.0, 100.0, 50.0), now=clock.now)
    accept(store, change(1, 9, batch="spring"))
    lease = take_lease(store)
    claim_all(lease)
    lease.begin("r1", make_request([Relation(BUYER, 1, 9)]))
    lease.settle("r1", Writes(outcomes=[RelationOutcome("acme-000", Relation(BUYER, 1, 9), "applied")]))
    assert 199_000 < redis_client.pttl("t:{acme}:batch:spring") <= 200_000


def test_a_job_that_failed_with_two_errors_of_one_class_is_listed_once(store: Store) -> None:
    accept(store, change(1, 9, 10))
    lease = take_lease(store)
    claim_all(lease)
    refusals = {Relation(BUYER, 1, 9): Refusal(160, "record", "gone"), Relation(BUYER, 1, 10): LOCKED}
    lease.begin("r1", make_request(list(refusals)))
    outcomes = [RelationOutcome("acme-000", each, "failed", refusal=refusals[each]) for each in refusals]
    lease.settle("r1", Writes(outcomes=outcomes))
    assert [job.id for job in queries_of(store).find_jobs("acme", JobFilter(error="record")).entries] == [
        "acme-000"
    ]


def test_failures_are_grouped_by_error_and_type_and_requeued_jobs_leave_the_groups(
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
    assert count_by_state(metrics_of(store), "acme")["unresolved"] == 3
    store.requeue("acme", [groups[160, BUYER].example])
    assert {(each.code, each.type) for each in queries_of(store).failure_groups("acme")} == {
        (78, BUYER),
        (0, BROKER),
    }
    assert count_by_state(metrics_of(store), "acme")["unresolved"] == 2


def test_states_are_read_together_without_those_of_unknown_jobs(store: Store, clock: FakeClock) -> None:
    fill(
        store, clock, [(0, change(1, 9), "failed"), (0, change(2, 9), "applied"), (0, change(3, 9), "queued")]
    )
    known = {job.id: job.state for page in pages(queries_of(store), JobFilter(), 500) for job in page}
    assert sorted(known.values()) == ["failed", "queued", "succeeded"]
    assert queries_of(store).get_states([*known, "acme-gone", "nobody-1"]) == known
    assert queries_of(store).get_states([]) == {}


def test_requests_come_newest_first_by_cursor(store: Store, clock: FakeClock) -> None:
    accept(store, change(1, 9))
    lease = take_lease(store)
    claim_all(lease)
    for number in range(5):
        request = make_request([Relation(BUYER, 1, 9)])
        signed = lease.begin(f"r{number}", request)
        assert isinstance(signed, int)
        lease.settle(f"r{number}", Writes(requests=(make_request_record(f"r{number}", request, signed),)))
    queries = queries_of(store)
    first = queries.list_requests("acme", limit=2)
    second = queries.list_requests("acme", limit=2, cursor=first.next)
    last = queries.list_requests("acme", limit=2, cursor=second.next)
    assert [[each.id for each in page.entries] for page in (first, second, last)] == [
        ["r4", "r3"],
        ["r2", "r1"],
        ["r0"],
    ]
    assert last.next == ""
    assert queries.list_requests("acme", cursor="q9").entries == ()  # was dropped, as all that is so old
    with pytest.raises(Invalid, match="is of another list"):
        queries.list_requests("acme", cursor="r1-of-the-audit-log")


def test_a_page_after_a_request_that_was_dropped_meanwhile_is_empty_though_an_older_one_is_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are listed as they are answered, not as they began."""
    monkeypatch.setattr("worker.store.account.MAX_REQUESTS", 2)
    accept(store, change(1, 9))
    lease, request = take_lease(store), make_request([Relation(BUYER, 1, 9)])
    claim_all(lease)
    signed = {name: lease.begin(name, request) for name in ("r1", "r2", "r3")}
    for name in ("r2", "r1", "r3"):
        at = signed[name]
        assert isinstance(at, int)
        lease.settle(name, Writes(requests=(make_request_record(name, request, at),)))
    queries = queries_of(store)
    assert [each.id for each in queries.list_requests("acme").entries] == ["r3", "r1"]
    assert queries.list_requests("acme", cursor="r2").entries == ()


def fill(store: Store, clock: FakeClock, made: list[tuple[int, Change, str]]) -> None:
    """Accept the changes one after the other, and work each as far as its fate says."""
    names = IdGenerator(lambda: clock.now() // 1000, lambda size: bytes(size))
    for number, (later, one, fate) in enumerate(made):
        clock.advance(later / 1e6)
        job = f"{names()[:-3]}{number:03d}"
        asked = name_by_references(one, "child") if fate == "parked" else one
        entry = submission(job, asked, event_id=f"e{number}")
        store.accept("acme", [entry], IntakeBounds(NO_LIMIT, MONTH))
        if fate == "parked":
            park(store)
        elif fate != "queued" and all(each[2] != "queued" for each in made[:number]):
            work(store, one, fate, REFUSALS[number % 3])


def park(store: Store) -> None:
    """Park the only job whose records are to be looked up."""
    lease = take_lease(store)
    results, _ = look_up_results(lease.read_look_ups(1), ["none"], park=True)
    lease.write_look_ups(results, {}, memory=60.0)
    lease.release()


def work(store: Store, one: Change, fate: str, refusal: Refusal) -> None:
    """Claim the only job of the inbox, and perhaps end it."""
    lease = take_lease(store)
    [job] = claim_all(lease, later=60.0 * (fate == "retrying")).jobs
    if fate == "applied":
        send_and_settle(lease, f"r{job.job}", dict.fromkeys(one.relations, "applied"))
    if fate == "failed":
        lease.begin(f"r{job.job}", make_request(one.relations))
        lease.settle(
            f"r{job.job}",
            Writes(
                outcomes=[
                    RelationOutcome(job.job, relation, "failed", "", refusal) for relation in one.relations
                ]
            ),
        )
    lease.release()


def pages(queries: Queries, wanted: JobFilter, limit: int) -> Iterator[tuple[JobRecord, ...]]:
    """Yield one page after the other, to the end."""
    cursor = ""
    while True:
        page = queries.find_jobs("acme", wanted, limit=limit, cursor=cursor)
        yield page.entries
        if not page.next:
            return
        cursor = page.next


def matches(job: JobRecord, wanted: JobFilter) -> bool:
    """Return whether the job matches the filter."""
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
            not wanted.event_id or job.event_id == wanted.event_id,
            not wanted.since or job.accepted_at >= wanted.since,
            not wanted.until or job.accepted_at < wanted.until,
        )
    )
