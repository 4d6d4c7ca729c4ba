"""Laws of poison and of outcomes, on a real server and in memory."""

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.store_steps import (
    BASE,
    accept,
    claim_all,
    expire_lease,
    job_of,
    list_jobs,
    read_all,
    send_and_settle,
    take_lease,
)
from tests.support.store_values import BUYER, MONTH, START, change
from worker.contract import Relation
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import Result
from worker.planner.relation_state import OpenRelation, Refusal
from worker.ports.store import Store
from worker.ports.work import OpenWrite, Writes
from worker.store.keys import short_id
from worker.store.lease.lease import RedisLease
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock

# --- poison


def test_a_batch_that_kills_its_workers_is_halved_and_a_single_job_condemned_in_the_end(store: Store) -> None:
    accept(store, *(change(number, 9) for number in range(1, 9)))
    reads = []
    for number in range(7):
        work = read_all(take_lease(store, f"h{number}"))
        reads.append((len(work.jobs), work.condemned))
        expire_lease(store)
    assert reads == [(8, False), (4, False), (2, False), (1, False), (1, False), (1, False), (1, True)]


def test_a_job_that_its_worker_survives_is_never_condemned_and_batches_grow_again(store: Store) -> None:
    accept(store, *(change(number, 9) for number in range(1, 9)))
    for number in range(5):
        read_all(take_lease(store, f"lost{number}"))
        expire_lease(store)
    sizes = []
    for number in range(6):
        lease = take_lease(store, f"h{number}")
        sizes.append(len(read_all(lease).jobs))
        assert not read_all(lease).condemned
        lease.release()
    assert sizes == [1, 2, 4, 8, 8, 8]


def test_a_worker_that_dies_without_work_makes_no_batch_smaller(store: Store) -> None:
    read_all(take_lease(store, "lost"))
    expire_lease(store)
    accept(store, *(change(number, 9) for number in range(1, 9)))
    assert len(read_all(take_lease(store)).jobs) == 8


def test_a_batch_that_was_small_by_choice_says_nothing_about_the_next(store: Store) -> None:
    accept(store, *(change(number, 9) for number in range(1, 9)))
    lease = take_lease(store)
    assert len(lease.read(max_jobs=1, max_relations=5000).jobs) == 1
    lease.release()
    assert len(read_all(take_lease(store, "next")).jobs) == 8


# --- outcomes


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fates=st.lists(
        st.lists(st.sampled_from(["applied", "superseded", "stale", "failed"]), min_size=1, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_counters_equal_the_sum_of_outcomes_also_after_a_requeue(
    redis_client: Redis, fates: list[list[Result]]
) -> None:
    redis_client.flushall()
    store = RedisStore(redis_client, "t", now=FakeClock(START).now)
    accept(
        store,
        *(
            change(number, *range(1, len(results) + 1), batch="import")
            for number, results in enumerate(fates, 1)
        ),
    )
    lease = take_lease(store)
    claim_all(lease)
    results = {
        Relation(BUYER, parent, child): fate
        for parent, fated in enumerate(fates, 1)
        for child, fate in enumerate(fated, 1)
    }
    send_and_settle(lease, "r1", results)
    check_counters(store)
    assert {job.id: job.failed for job in list_jobs(store)} == {
        f"acme-{number:03d}": tuple(
            Relation(BUYER, number + 1, child) for child, fate in enumerate(fated, 1) if fate == "failed"
        )
        for number, fated in enumerate(fates)
    }
    store.requeue("acme", store.failed_jobs("acme", limit=100))
    check_counters(store)
    claim_all(lease)
    send_and_settle(
        lease,
        "r2",
        dict.fromkeys((relation for relation, fate in results.items() if fate == "failed"), "applied"),
    )
    check_counters(store)
    assert store.failed_jobs("acme", limit=100) == []


def check_counters(store: Store) -> None:
    """Compare the account's counters, and those of the batch, with the jobs."""
    kept, counts = list_jobs(store), store.counts("acme")
    for result in ("applied", "superseded", "stale", "failed"):
        assert counts.get(f"relations_{result}", 0) == sum(job.counts[result] for job in kept)
    states = Counter(job.state for job in kept)
    for state in ("succeeded", "superseded", "failed"):
        assert counts.get(state, 0) == states[state] == store.batch_counts("acme", "import").get(state, 0)
    assert counts["accepted"] == len(kept) == store.batch_counts("acme", "import")["accepted"]


def test_a_settle_of_more_relations_than_one_script_takes_counts_as_one_attempt(store: Store) -> None:
    accept(store, change(1, *range(1, 501)), change(2, *range(1, 501)))
    lease = take_lease(store)
    claim_all(lease)
    relations = [Relation(BUYER, parent, child) for child in range(1, 501) for parent in (1, 2)]
    send_and_settle(lease, "r1", dict.fromkeys(relations, "applied"))
    assert {(job.state, job.attempts, job.requests, job.counts["applied"]) for job in list_jobs(store)} == {
        ("succeeded", 1, ("r1",), 500)
    }
    assert read_all(lease).begun == ()
    assert store.counts("acme")["requests"] == 1
    assert store.counts("acme")["actions"] == 1000


def test_an_outcome_after_the_end_of_a_job_changes_nothing_about_it(store: Store) -> None:
    accept(store, change(1, 9))
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied"})
    ended, batch = store.get_job("acme-000"), store.counts("acme")["succeeded"]
    lease.settle(
        "r2",
        Writes(
            outcomes=[RelationOutcome("acme-000", Relation(BUYER, 1, 9), "failed")],
            job_states={"acme-000": "retrying"},
        ),
    )
    assert (store.get_job("acme-000"), store.counts("acme")["succeeded"]) == (ended, batch)


def test_the_first_refusal_becomes_the_jobs_and_only_whole_request_ids_are_kept(store: Store) -> None:
    accept(store, change(1, *range(1, 13)))
    lease = take_lease(store)
    claim_all(lease)
    ids = [f"{number:018d}" for number in range(12)]
    for child, request_id in enumerate(ids, 1):
        refusal = Refusal(child, "record", "gone")
        writes = Writes(
            {Relation(BUYER, 1, child): OpenWrite(None)},
            outcomes=[RelationOutcome("acme-000", Relation(BUYER, 1, child), "failed", "", refusal)],
        )
        lease.settle(request_id, writes)
    job = job_of(store)
    assert (job.refusal, job.attempts, job.state) == ((1, "record", "gone", f"{BUYER}:1:1"), 12, "failed")
    assert job.requests == tuple(ids[-6:])


def test_a_relation_remembers_its_latest_jobs_only(store: Store) -> None:
    relation = Relation(BUYER, 1, 9)
    accept(store, *(change(1, 9) for _ in range(60)))
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {relation: "applied"})
    assert [event.job for event in store.relation_history("acme", relation)[1]] == [
        f"acme-{number:03d}" for number in range(20, 60)
    ]


def test_a_job_superseded_by_several_names_the_last(store: Store) -> None:
    accept(store, change(1, 9, 10))
    lease = take_lease(store)
    claim_all(lease)
    lease.settle(
        "r1",
        Writes(
            outcomes=[
                RelationOutcome("acme-000", Relation(BUYER, 1, child), "superseded", f"acme-{child}")
                for child in (9, 10)
            ]
        ),
    )
    job = job_of(store)
    assert (job.state, job.by, job.attempts) == ("superseded", "acme-10", 0)


def test_failed_jobs_are_listed_only_while_they_are_kept(store: Store, clock: FakeClock) -> None:
    for number in (1, 2):
        accept(store, change(number, 9), first=number)
        lease = take_lease(store, f"h{number}")
        claim_all(lease)
        send_and_settle(lease, f"r{number}", {Relation(BUYER, number, 9): "failed"})
        lease.release()
        assert store.failed_jobs("acme", limit=10) == [f"acme-{number:03d}"]
        clock.advance(MONTH)
        if isinstance(store, RedisStore):
            store.database.redis.delete(f"{BASE}job:acme-{number:03d}")  # as Redis's own clock would by now


def test_a_flush_keeps_no_job_in_mind_that_has_ended_whether_it_was_sent_or_not(store: Store) -> None:
    accept(store, change(1, 9), change(1, 9), change(1, 10))
    lease = take_lease(store)
    work = read_all(lease)
    older, newer, other = work.jobs
    first, second = newer.relations[0], other.relations[0]
    opens = {
        relation: OpenWrite(OpenRelation((job.intent("create"),), since=work.now))
        for relation, job in ((first, newer), (second, other))
    }
    superseded = [RelationOutcome(older.job, first, "superseded", newer.job)]
    assert lease.claim(work.jobs, (), Writes(opens=opens, outcomes=superseded))
    assert isinstance(lease, RedisLease)
    assert lease.leased.jobs.keys() == {short_id(newer.job), short_id(other.job)}
    send_and_settle(lease, "r1", {first: "applied"})
    assert lease.leased.jobs.keys() == {short_id(other.job)}
    assert lease.leased.memories.keys() == {second}
