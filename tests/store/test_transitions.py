"""Laws of accepting, of the lease and of waking, on a real server, and in memory what makes sense there."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from typing import Any, cast

import pytest
from redis import Redis

from tests.support.broken_stores import inspector_of
from tests.support.store_steps import (
    BASE,
    accept,
    claim_all,
    come_between,
    dump_keys,
    expire_lease,
    job_admin_of,
    job_of,
    list_jobs,
    lose_job,
    queued,
    read_all,
    run_every_transition,
    run_scripts_twice,
    send_and_settle,
    take_lease,
)
from tests.support.store_values import (
    BROKER,
    BUYER,
    MONTH,
    NO_LIMIT,
    START,
    change,
    intents_by_relation,
    leave_open,
    look_up_results,
    make_request,
    name_by_references,
    submission,
)
from worker.contract import Change, Relation
from worker.errors import BacklogFull, LeaseLost, StoreRolledBack
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import Result
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry
from worker.ports.replays import Replay, ReplayEntry
from worker.ports.store import IntakeBounds, Receipt, RefusedChange, Store
from worker.ports.work import Lease, Writes
from worker.store.database import Database, ScriptedReads
from worker.store.limits import LEASE_LIFETIME_MS
from worker.store.meta import read_meta
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock

# --- accepting


def test_the_same_accept_twice_writes_nothing_and_answers_the_same(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    changes = [change(1, 9, batch="import"), change(2, 9, 10, name=BROKER)]
    receipts = accept(redis_store, *changes)
    before = dump_keys(redis_client)
    assert accept(redis_store, *changes) == receipts
    assert dump_keys(redis_client) == before


def test_an_event_id_known_under_another_job_is_answered_with_the_first(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    redis_store.accept("acme", [submission("1", change(1, 9), event_id="e")], IntakeBounds(NO_LIMIT, MONTH))
    again = redis_store.accept("acme", [submission("2", change(1, 9), event_id="e")], IntakeBounds(0, MONTH))
    other = redis_store.accept("acme", [submission("3", change(2, 9), event_id="e")], IntakeBounds(0, MONTH))
    assert again.receipts == (Receipt("acme-1", duplicate=True),)
    assert [(refused.reason, refused.job) for refused in other.refused] == [("conflict", "acme-1")]
    assert queued(redis_client) == ["acme-1"]


def test_a_delivery_is_its_event_id_whatever_is_in_it_and_no_producer_s_change_can_claim_that_id(
    store: Store,
) -> None:
    def receipt(job: str, asked: Change, *, delivered: bool) -> Receipt:
        entry = submission(job, asked, event_id="e", redelivered=delivered)
        return store.accept("acme", [entry], IntakeBounds(NO_LIMIT, MONTH)).receipts[0]

    assert receipt("1", change(1, 9), delivered=False) == Receipt("acme-1")
    assert receipt("2", change(1, 9), delivered=True) == Receipt("acme-2")
    assert receipt("3", change(2, 9), delivered=True) == Receipt("acme-2", duplicate=True)
    assert receipt("4", change(1, 9), delivered=False) == Receipt("acme-1", duplicate=True)


def test_a_batch_with_one_refusal_or_over_the_limit_leaves_nothing(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    ahead = change(1, 10, occurred_at=START + 301_000_000)
    answer = redis_store.accept(
        "acme", [submission("1", change(1, 9)), submission("2", ahead)], IntakeBounds(NO_LIMIT, MONTH)
    )
    assert list(answer.refused) == [RefusedChange(1, "ahead", now=START)]
    with pytest.raises(BacklogFull):
        redis_store.accept(
            "acme",
            [submission("1", change(1, 9)), submission("2", change(1, 10))],
            IntakeBounds(1, MONTH),
        )
    assert set(dump_keys(redis_client, f"{BASE}*")) == {
        f"{BASE}{name}".encode() for name in ("meta", "lease")
    }


def test_exactly_one_of_many_concurrent_accepts_is_to_wake_a_worker(redis_store: RedisStore) -> None:
    def one(number: int) -> bool:
        return redis_store.accept(
            "acme", [submission(str(number), change(number, 9))], IntakeBounds(NO_LIMIT, MONTH)
        ).wake

    with ThreadPoolExecutor(16) as threads:
        for first in (1, 101):
            assert sum(threads.map(one, range(first, first + 64))) == 1
            take_lease(redis_store)  # clears the mark
            expire_lease(redis_store)


def test_occurred_at_zero_is_the_epoch_and_not_now(store: Store) -> None:
    answer = store.accept(
        "acme", [submission("1", change(1, 9, occurred_at=0))], IntakeBounds(NO_LIMIT, MONTH)
    )
    assert [refused.reason for refused in answer.refused] == ["too_old"]


# --- leases and steps


def test_a_job_is_never_both_in_the_inbox_and_open(redis_store: RedisStore, redis_client: Redis) -> None:
    def where() -> tuple[list[str], set[str]]:
        opened = lease.records([Relation(BUYER, 1, 9), Relation(BUYER, 1, 10)]).values()
        return queued(redis_client), {
            intent.job for record in opened if record.open for intent in record.open.intents
        }

    lease = take_lease(redis_store)
    accept(redis_store, change(1, 9), change(1, 10))
    assert where() == (["acme-000", "acme-001"], set())
    read_all(lease)
    assert where() == (["acme-000", "acme-001"], set())
    claim_all(lease)
    assert where() == ([], {"acme-000", "acme-001"})
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "failed"})
    redis_store.requeue("acme", ["acme-000"])
    assert where() == (["acme-000"], {"acme-001"})


def test_every_script_called_twice_leaves_what_it_leaves_when_called_once(redis_client: Redis) -> None:
    left = []
    for is_repeated in (False, True):
        redis_client.flushall()
        clock = FakeClock(START)
        store = RedisStore(redis_client, "t", now=clock.now)
        if is_repeated:
            run_scripts_twice(store)
        run_every_transition(store, clock)
        left.append(dump_keys(redis_client))
    assert left[0] == left[1]
    assert len(left[0]) > 20


def test_a_holder_without_the_lease_claims_begins_and_settles_nothing(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9))
    old = take_lease(redis_store, "old")
    work, request = read_all(old), make_request([Relation(BUYER, 1, 9)])
    assert redis_store.lease("acme", "new") is None
    for takeover in (False, True):
        expire_lease(redis_store)
        if takeover:
            take_lease(redis_store, "new")
        before = dump_keys(redis_client)
        steps: list[Callable[[], object]] = [
            old.renew,
            old.release,
            lambda: read_all(old),
            lambda: old.claim(work.jobs, (), Writes()),
            lambda: old.begin("r1", request),
            lambda: old.settle(
                "r1", Writes(outcomes=[RelationOutcome("acme-000", Relation(BUYER, 1, 9), "applied")])
            ),
        ]
        for step in steps:
            with pytest.raises(LeaseLost):
                step()
        assert dump_keys(redis_client) == before


def test_a_claim_of_what_the_next_holder_has_taken_says_that_the_lease_is_lost(store: Store) -> None:
    accept(store, change(1, 9))
    old = take_lease(store, "old")
    work = read_all(old)
    expire_lease(store)
    claim_all(take_lease(store, "new"))
    with pytest.raises(LeaseLost):
        old.claim(work.jobs, (), Writes())


@pytest.mark.parametrize("kept", ["claimed", "begun", "settled"])
def test_a_store_that_lost_acknowledged_writes_reads_claims_begins_and_settles_nothing(
    kept: str, redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9), change(2, 9))
    lease, relation = take_lease(redis_store), Relation(BUYER, 1, 9)
    claim_all(lease)
    replica = {"claimed": copy_keys(redis_client)}
    lease.begin("r1", make_request([relation]))
    replica["begun"] = copy_keys(redis_client)
    lease.settle("r1", Writes(outcomes=[RelationOutcome("acme-000", relation, "applied")]))
    replica["settled"] = copy_keys(redis_client)
    lease.begin("r2", make_request([Relation(BUYER, 2, 9)]))

    redis_client.flushall()
    for key, content in replica[kept].items():
        redis_client.restore(key, 0, content)
    before, last = dump_keys(redis_client), [RelationOutcome("acme-001", Relation(BUYER, 2, 9), "applied")]
    steps: list[Callable[[], object]] = [
        lambda: lease.begin("r3", make_request([relation])),
        lambda: lease.settle("r2", Writes(outcomes=last)),
        lambda: lease.claim((), (), Writes()),
        lambda: read_all(lease),
    ]
    for step in steps:
        with pytest.raises(StoreRolledBack):
            step()
    assert dump_keys(redis_client) == before


def test_a_journal_without_a_request_that_is_on_its_way_has_lost_writes_too(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9))
    lease = take_lease(redis_store)
    claim_all(lease)
    lease.begin("r1", make_request([Relation(BUYER, 1, 9)]))
    assert read_all(lease).begun == ()  # it is nobody else's
    assert redis_client.delete(f"{BASE}journal") == 1
    with pytest.raises(StoreRolledBack):
        read_all(lease)


def test_a_failed_job_that_is_replayed_before_its_batch_is_over_is_claimed_once(store: Store) -> None:
    accept(store, change(1, 9), change(2, 9))
    dead = take_lease(store, "dead")
    claim_all(dead)
    send_and_settle(dead, "r1", {Relation(BUYER, 1, 9): "failed"})
    assert store.requeue("acme", ["acme-000"])[0] == ["acme-000"]
    job = job_of(store)
    assert job.state == "queued"
    expire_lease(store)
    lease = take_lease(store, "next")
    assert [claimed.job for claimed in claim_all(lease).jobs] == ["acme-001"]
    send_and_settle(lease, "r2", {Relation(BUYER, 2, 9): "applied"})
    assert [claimed.job for claimed in claim_all(lease).jobs] == ["acme-000"]


def test_what_a_dead_worker_has_written_is_taken_over_though_a_person_comes_in_between(store: Store) -> None:
    accept(store, change(1, 9), change(2, 9))
    dead, writes = take_lease(store, "dead"), Writes()
    work = dead.read(max_jobs=1, max_relations=9)
    for relation, intents in intents_by_relation(work.jobs, work.records).items():
        leave_open(relation, intents, {"since": work.now}, writes)
    assert dead.claim(work.jobs, (), writes)
    assert dead.claim((), (), writes)  # all that the job wants is written, but for the job
    expire_lease(store)
    lease = take_lease(store, "next")
    found = read_all(lease)
    assert (found.recovered, found.jobs) == (True, ())
    entry = AuditEntry("a1", "me", "cancel", "acme-001")
    assert job_admin_of(store).cancel("acme", ["acme-001"], entry).done == ("acme-001",)
    assert lease.claim(found.jobs, found.begun, Writes())
    assert read_all(lease).due == tuple(work.named)
    lease.release()
    assert inspector_of(store).inspect("acme").flaws == ()


def copy_keys(client: Redis) -> dict[bytes, bytes]:
    """Return what a replica would have of every key by now."""
    return {key: client.dump(key) for key in client.scan_iter(count=1000)}


def test_a_lease_ends_ten_seconds_after_it_was_last_renewed(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    lease = take_lease(redis_store)
    redis_client.pexpire(f"{BASE}holder", 100)
    lease.renew()
    assert 9_000 < redis_client.pttl(f"{BASE}holder") <= 10_000


def test_a_begun_request_stays_begun_when_the_account_is_paused_before_its_repeated_answer(
    redis_store: RedisStore, clock: FakeClock
) -> None:
    accept(redis_store, change(1, 9))
    lease = take_lease(redis_store)
    claim_all(lease)
    signed = clock.now()
    operator = RedisStore(redis_store.database.redis, "t", now=clock.now)
    run_scripts_twice(
        redis_store, between=lambda: (clock.advance(1.0), operator.pause("acme", Pause("by hand")))
    )
    assert lease.begin("r1", make_request([Relation(BUYER, 1, 9)])) == signed
    lease.settle("r1", Writes(outcomes=[RelationOutcome("acme-000", Relation(BUYER, 1, 9), "applied")]))
    job = job_of(redis_store)
    assert job.state == "succeeded"


def test_a_begin_repeated_after_its_settle_leaves_no_trace(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9))
    lease = take_lease(redis_store)
    claim_all(lease)
    calls: list[dict[str, Any]] = []
    commit = redis_store.database.scripts["commit"]

    def noted(**arguments: Any) -> Any:
        calls.append(arguments)
        return commit(**arguments)

    redis_store.database.scripts["commit"] = noted
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied"})
    before = dump_keys(redis_client)
    failed, found = commit(**calls[0])
    assert (failed, found) == (2, b"4")  # it is not this step's turn any more
    assert dump_keys(redis_client) == before


def test_entries_of_the_queue_whose_jobs_have_ended_keep_no_flush_busy(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9), change(1, 10))
    lease = take_lease(redis_store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, child): "applied" for child in (9, 10)})
    redis_client.rpush(f"{BASE}queue", "000", "001")  # as if a server had lost that they left it
    assert read_all(lease).jobs == ()
    assert lease.release() is None
    assert redis_store.counts("acme")["backlog"] == 0
    assert redis_store.due_accounts(["acme"]) == []


def test_jobs_that_are_gone_from_the_inbox_do_not_shift_the_others(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9), change(1, 10), change(1, 11))
    lose_job(redis_client, "acme-000")
    lease = take_lease(redis_store)
    work = read_all(lease)
    assert [job.job for job in work.jobs] == ["acme-001", "acme-002"]
    lease.claim(work.jobs[:1], (), Writes())
    assert queued(redis_client) == ["acme-002"]


# --- waking


def accept_one(store: Store, number: int) -> bool:
    """Accept a change of a relation of its own; return whether a worker is to be woken for it."""
    bounds = IntakeBounds(NO_LIMIT, MONTH)
    return store.accept("acme", [submission(str(number), change(number, 9))], bounds).wake


def work_all(lease: Lease, request_id: str, result: Result = "applied") -> None:
    """Send all that waits, each relation with this result."""
    work = claim_all(lease)
    send_and_settle(lease, request_id, dict.fromkeys(intents_by_relation(work.jobs, work.records), result))


def test_what_comes_while_an_account_is_worked_waits_for_the_message_of_who_works_it(store: Store) -> None:
    """With one more for each flush an account that is sent to all the time got ever more turns."""
    assert accept_one(store, 1)
    lease = take_lease(store)
    work_all(lease, "r1")
    assert not accept_one(store, 2)
    assert not accept_one(store, 3)
    assert lease.release() == 0.0
    assert not accept_one(store, 4)


def test_whoever_comes_after_an_account_was_worked_to_its_end_wakes_a_worker(store: Store) -> None:
    accept_one(store, 1)
    lease = take_lease(store)
    assert not accept_one(store, 2)
    work_all(lease, "r1")
    assert lease.release() is None
    assert accept_one(store, 3)


@pytest.mark.parametrize("later", [0.0, 5.0, 300.0])
def test_what_comes_in_the_moment_of_a_release_is_due_with_it(redis_store: RedisStore, later: float) -> None:
    accept_one(redis_store, 1)
    lease = take_lease(redis_store)
    accept_one(redis_store, 2)
    if later:
        claim_all(lease, later=later)
    else:
        work_all(lease, "r1")
    come_between(redis_store.database, lambda: accept_one(redis_store, 3))
    assert lease.release(window=1.0) == pytest.approx(1.0)


def test_what_is_put_back_while_an_account_is_worked_wakes_nobody_and_is_due_when_it_is_given_back(
    redis_store: RedisStore,
) -> None:
    accept_one(redis_store, 1)
    lease = take_lease(redis_store)
    work_all(lease, "r1", "failed")
    [job], woken = list_jobs(redis_store), list[bool]()
    come_between(redis_store.database, lambda: woken.append(redis_store.requeue("acme", [job.id])[1]))
    assert lease.release() == 0.0
    assert woken == [False]


def accept_by_reference(store: Store, number: int) -> bool:
    """Accept a change whose record is to be looked up; return whether a worker is to be woken for it."""
    named = name_by_references(change(number, 9), "child")
    return store.accept("acme", [submission(str(number), named)], IntakeBounds(NO_LIMIT, MONTH)).wake


def test_what_has_to_be_looked_up_does_not_keep_a_lease_from_being_given_back(
    redis_store: RedisStore,
) -> None:
    """Each change of a storm came between what a release read and what it wrote, fifty times."""
    accept_one(redis_store, 1)
    lease = take_lease(redis_store)
    work_all(lease, "r1")
    numbers = count(2)

    def come() -> None:
        accept_by_reference(redis_store, next(numbers))
        come_between(redis_store.database, come)

    come_between(redis_store.database, come)
    assert lease.release(window=1.0) == 0.0


def test_what_has_to_be_looked_up_does_not_wait_for_what_others_left_behind(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept_one(redis_store, 1)
    lease = take_lease(redis_store)
    work_all(lease, "r1")
    redis_client.hset(f"{BASE}work", "idle", 10)
    assert not read_all(lease).jobs
    assert not accept_by_reference(redis_store, 2)
    due_in = lease.release(window=1.0)
    assert due_in is not None
    assert due_in <= 1.0


def test_whoever_accepts_while_a_worker_of_an_earlier_release_has_the_lease_wakes_a_worker(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    """That worker leaves the mark where it is, and what came next waited for the sweep."""
    accept_one(redis_store, 1)
    lease = take_lease(redis_store)
    work_all(lease, "r1", "failed")
    redis_client.hdel(f"{BASE}holder", "wakes")
    assert accept_one(redis_store, 2)
    redis_client.delete(f"{BASE}wake")
    [job] = [job for job in list_jobs(redis_store) if job.state == "failed"]
    assert redis_store.requeue("acme", [job.id]) == ([job.id], True)


def test_whoever_accepts_while_an_account_is_inspected_wakes_a_worker(redis_store: RedisStore) -> None:
    accept_one(redis_store, 1)
    woken = list[bool]()
    inspector = inspector_of(redis_store)
    inspector.inspect("acme", on_progress=lambda _what, _count: woken.append(accept_one(redis_store, 2)))
    assert woken[0]


def test_what_came_while_an_account_was_worked_is_found_when_its_worker_died(
    redis_store: RedisStore, clock: FakeClock
) -> None:
    accept_one(redis_store, 1)
    take_lease(redis_store)
    assert not accept_one(redis_store, 2)
    expire_lease(redis_store)
    clock.advance(2.0)
    assert redis_store.due_accounts(["acme"]) == ["acme"]


def test_release_marks_the_account_as_woken_when_work_remains_and_the_sweep_trusts_the_mark(
    store: Store, clock: FakeClock
) -> None:
    accept(store, change(1, 9))
    lease = take_lease(store)
    assert lease.release() == 0.0
    again = store.accept("acme", [submission("2", change(2, 9))], IntakeBounds(NO_LIMIT, MONTH))
    assert not again.wake
    assert store.due_accounts(["acme"]) == []
    clock.advance(2.0)
    assert store.due_accounts(["acme"]) == ["acme"]
    assert store.due_accounts(["acme"]) == []


@pytest.mark.parametrize(("later", "marked"), [(5.0, True), (8.0, False)])
def test_release_returns_when_work_is_due_and_leaves_later_work_to_the_sweep(
    store: Store, clock: FakeClock, later: float, marked: bool
) -> None:
    accept(store, change(1, 9))
    lease = take_lease(store)
    claim_all(lease, later=later)
    assert lease.release() == later
    assert store.due_accounts(["acme"]) == []
    clock.advance(later)
    assert store.due_accounts(["acme"]) == ([] if marked else ["acme"])
    clock.advance(2.0)  # the message counts as lost by now
    assert store.due_accounts(["acme"]) == ["acme"]


def test_lost_wake_ups_are_replaced_at_doubling_intervals_up_to_a_minute(
    store: Store, clock: FakeClock
) -> None:
    accept(store, change(1, 9))
    repaired = []
    for _ in range(400):
        clock.advance(1.0)
        repaired += [clock.monotonic()] if store.due_accounts(["acme"]) else []
    assert [later - earlier for earlier, later in pairwise(repaired)] == [4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_an_account_that_is_leased_paused_or_empty_is_not_due(store: Store, clock: FakeClock) -> None:
    lease = take_lease(store)
    accept(store, change(1, 9))
    clock.advance(3.0)  # the message counts as lost by now
    assert store.due_accounts(["acme", "baker"]) == []
    lease.set_pause(Pause("credentials"))
    lease.release()
    clock.advance(3600.0)
    assert store.due_accounts(["acme", "baker"]) == []
    assert store.resume("acme")
    assert store.due_accounts(["acme", "baker"]) == ["acme"]


# --- a clock that steps back an hour


def test_a_message_under_way_counts_as_lost_when_the_clock_has_stepped_back(
    store: Store, clock: FakeClock
) -> None:
    accept(store, change(1, 9))
    clock.advance(2.0)
    assert store.due_accounts(["acme"]) == ["acme"]
    clock.advance(-3600.0)
    assert store.due_accounts(["acme"]) == ["acme"]


def test_nothing_begins_that_somebody_has_paused_meanwhile_until_it_is_resumed(store: Store) -> None:
    accept(store, change(1, 9))
    lease = take_lease(store)
    request = make_request(claim_all(lease).named)
    store.pause("acme", Pause("operator", "we move"))
    for _ in range(2):
        stopped = lease.begin("r1", request)
        assert isinstance(stopped, Pause)
        assert stopped.detail == "we move"
    store.resume("acme")
    assert isinstance(lease.begin("r1", request), int)


@pytest.mark.parametrize("reason", ["clock", "credentials"])
def test_a_pause_that_ends_by_itself_replaces_none_that_a_person_has_to_end(
    store: Store, clock: FakeClock, reason: str
) -> None:
    store.pause("acme", Pause("operator", "we move"))
    until = clock.now() + 60_000_000 if reason == "clock" else 0
    take_lease(store).set_pause(Pause(reason, until=until, fingerprint="f"))
    clock.advance(61.0)
    pause = store.get_pause("acme")
    assert pause
    assert (pause.reason, pause.detail, pause.until) == ("operator", "we move", 0)
    store.pause("acme", Pause("operator", "we still move"))
    assert store.get_pause("acme") == pause._replace(detail="we still move", since=clock.now())


def test_a_pause_lasts_as_long_as_it_was_to_when_the_clock_has_stepped_back(
    store: Store, clock: FakeClock
) -> None:
    take_lease(store).set_pause(Pause("clock", until=clock.now() + 60_000_000))
    clock.advance(-3600.0)
    pause = store.get_pause("acme")
    assert pause
    assert (pause.since, pause.until) == (clock.now(), clock.now() + 60_000_000)
    clock.advance(60.0)
    assert store.get_pause("acme") is None


def test_what_is_dated_ahead_is_due_when_it_would_have_been_when_the_clock_has_stepped_back(
    store: Store, clock: FakeClock
) -> None:
    accept(store, change(1, 9), name_by_references(change(2, 9), "child"))
    lease = take_lease(store)
    results, _ = look_up_results(lease.read_look_ups(9), ["none"], park=True)
    lease.write_look_ups(results, {}, memory=60.0)
    work, writes = read_all(lease), Writes()
    for relation, intents in intents_by_relation(work.jobs, work.records).items():
        dated = {"since": work.now, "not_before": work.now + 30_000_000}
        leave_open(relation, intents, dated, writes, doubt=work.now + 150_000_000)
    assert lease.claim(work.jobs, work.begun, writes)
    lease.release()
    clock.advance(-3600.0)
    assert store.bring_forward("acme", 3_600_000_000) == 2
    assert inspector_of(store).inspect("acme").flaws == ()
    assert store.due_accounts(["acme"]) == []
    clock.advance(30.0)
    assert store.due_accounts(["acme"]) == ["acme"]
    again = take_lease(store, "h2")
    assert read_all(again).due == tuple(writes.opens)
    [record] = again.records(writes.opens).values()
    assert record.doubt
    assert record.doubt.until == clock.now() + 120_000_000
    clock.advance(30.0)
    assert len(again.read_look_ups(9).jobs) == 1


def test_a_clock_that_has_stepped_back_is_asked_again_before_anything_is_brought_forward(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is remembered for seconds; what lies between both times would be left where it is."""
    seconds, micros = cast(tuple[int, int], redis_client.time())
    store = RedisStore(redis_client, "t")
    with monkeypatch.context() as ahead:
        ahead.setattr(redis_client, "time", lambda: (seconds + 3600, micros))
        accept(store, change(1, 9))
        lease = take_lease(store)
        claim_all(lease)
        lease.release()
    assert store.bring_forward("acme", 3_600_000_000) == 1
    redis_client.delete(f"{BASE}wake")
    assert store.due_accounts(["acme"]) == ["acme"]


def test_what_was_put_down_before_it_was_tried_is_due_when_the_clock_has_stepped_back(
    store: Store, clock: FakeClock
) -> None:
    accept(store, change(1, 9))
    lease = take_lease(store)
    work = claim_all(lease)
    lease.release()
    clock.advance(-3600.0)
    assert store.bring_forward("acme", 3_600_000_000) == 1
    assert store.due_accounts(["acme"]) == ["acme"]
    again = take_lease(store, "h2")
    assert read_all(again).due == tuple(work.named)
    [record] = again.records(work.named).values()
    assert record.open
    assert record.open.since == clock.now()  # so it is given up, or held, no later than without the step
    again.release()
    assert inspector_of(store).inspect("acme").flaws == ()


def test_generations_end_when_they_were_to_end_though_the_clock_has_stepped_back(
    store: Store, clock: FakeClock
) -> None:
    accept(store, change(1, 9))
    claim_all(take_lease(store))
    clock.advance(-3600.0)
    assert store.bring_forward("acme", 3_600_000_000) == 0
    assert isinstance(store, RedisStore)
    meta = read_meta(store.database, "acme")
    assert (meta.events_since, meta.memories_since, meta.held_since) == (clock.now(),) * 3
    store.bring_forward("acme", 3_600_000_000)
    assert read_meta(store.database, "acme") == meta


def test_a_replay_that_stands_still_is_found_though_the_clock_has_stepped_back(
    store: Store, clock: FakeClock
) -> None:
    replay = Replay(id="acme-r1", account="acme", by="me", what="1 job", eligible=1)
    admin = job_admin_of(store)
    entry = AuditEntry("a1", "me", "replay", "acme-r1")
    admin.save_replay(replay, [ReplayEntry("acme-000")], entry, erasures=0)
    admin.set_replay_state("acme-r1", "running", entry)
    clock.advance(-3600.0)
    assert store.bring_forward("acme", 3_600_000_000) == 1
    assert admin.stalled_replays("acme", 60.0) == []
    clock.advance(60.0)
    assert admin.stalled_replays("acme", 60.0) == ["acme-r1"]


@pytest.mark.parametrize("asks", ["lease", "due_accounts"])
def test_the_lease_of_a_dead_worker_ends_when_the_clock_has_stepped_back(
    redis_store: RedisStore, redis_client: Redis, asks: str
) -> None:
    accept(redis_store, change(1, 9))
    lease, key = take_lease(redis_store), f"{BASE}holder"
    redis_client.pexpire(key, 3_600_000 + LEASE_LIFETIME_MS)  # what is left of it by the new time
    assert not (redis_store.lease("acme", "other") if asks == "lease" else redis_store.due_accounts(["acme"]))
    assert 0 < redis_client.pttl(key) <= LEASE_LIFETIME_MS
    lease.renew()  # a holder that lives keeps it


@pytest.mark.parametrize("back", [0.0, 3600.0])
def test_what_is_written_of_a_relation_counts_though_both_generations_know_it(
    store: Store, clock: FakeClock, back: float
) -> None:
    relation, keep = Relation(BUYER, 1, 9), 31 * 86_400.0
    for number in range(4):  # so that each of the two is the newer one once
        accept(store, change(1, 9), first=2 * number)
        lease = take_lease(store, f"h{number}")
        claim_all(lease)
        send_and_settle(lease, f"r{number}", {relation: "failed"})
        clock.advance(-back)
        accept(store, change(1, 9), first=2 * number + 1)
        turn_memories(store)
        read_all(lease)
        claim_all(lease)
        send_and_settle(lease, f"s{number}", {relation: "failed"})
        lease.release()
        jobs = {event.job for event in store.relation_history("acme", relation)[1]}
        assert f"acme-{2 * number + 1:03d}" in jobs
        clock.advance(back + keep / 100)


def turn_memories(store: Store) -> None:
    """Let the generation of memories be over, so that the next read begins another."""
    assert isinstance(store, RedisStore)
    store.database.redis.hset(store.database.key("acme", "meta"), "memories_since", 1)


def test_a_clusters_reads_reach_past_many_cancelled_changes(
    redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One script asks for all of them, and the stack of Lua ends at 8,000 values."""
    many, first = 9000, 100_000_000  # whose ids are of one bucket
    for start in range(first, first + many, 1000):
        accept(redis_store, *(change(1 + number, 9) for number in range(1000)), first=start)
    jobs, entry = [f"acme-{first + number}" for number in range(many)], AuditEntry("a1", "me", "cancelled")
    monkeypatch.setattr(Database, "reads", lambda self, account, **_: ScriptedReads(self, account))
    assert len(job_admin_of(redis_store).cancel("acme", jobs[1:], entry).done) == many - 1
    accept(redis_store, change(2, 10), first=first + many)
    work = read_all(take_lease(redis_store))
    assert [job.job for job in work.jobs] == [jobs[0], f"acme-{first + many}"]
