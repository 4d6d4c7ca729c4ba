"""Laws of metrics, on Redis and in memory: both count alike, counting commutes, and silence is noticed."""

import itertools
import socket
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.store_steps import accept, claim_all, job_admin_of, metrics_of, send_and_settle, take_lease
from tests.support.store_values import MONTH, NO_LIMIT, START, change, submission
from worker.background import WorkerHeartbeat
from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.errors import StoreUnavailable
from worker.ids import IdGenerator
from worker.planner.actions import Action, ActionResult, ErrorClass, Reply, Request, Verdict
from worker.ports.metrics import BOUNDS, SweepStats, WorkerInfo
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry
from worker.ports.store import IntakeBounds, Store
from worker.redis.client import connect
from worker.store.database import Database
from worker.store.metrics import RedisMetrics
from worker.testing import FakeClock
from worker.usecases.flush_telemetry import FlushCounters
from worker.usecases.health import Health

BUYER = "estate:address:buyer"
tallies = st.lists(
    st.tuples(
        st.sampled_from(["outcomes", "waits"]), st.sampled_from(["applied", "pace"]), st.integers(0, 5)
    ),
    max_size=5,
)
seconds = st.floats(0, 10_000)
Counts = tuple[str, str, int]
NEW_ACCOUNT = itertools.count()


def worker(name: str, at: int) -> WorkerInfo:
    return WorkerInfo(name=name, hostname="h", pid=1, concurrency=2, version="0.1.0", at=at)


def tally_of(*counts: Counts) -> FlushCounters:
    tally = FlushCounters()
    for name, label, by in counts:
        tally.count(name, label, by)
    return tally


def test_account_stats_show_what_waits_what_is_open_and_what_failed(store: Store) -> None:
    metrics, new_id = metrics_of(store), IdGenerator(lambda: START // 1000, lambda count: bytes(count))
    accept(store, *(change(1, child) for child in range(9, 13)))
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied", Relation(BUYER, 1, 10): "failed"})
    lease.begin("r2", Request((Action("create", BUYER, (1,), (11,)),)))
    store.accept("acme", [submission(new_id(), change(2, 9))], IntakeBounds(NO_LIMIT, MONTH))
    store.pause("acme", Pause("hand", "moving"))
    stats = metrics.account_stats(["acme", "other"])
    acme = stats["acme"]
    assert (acme.backlog, acme.oldest, acme.open, acme.begun, acme.unresolved) == (1, START, 2, 1, 1)
    assert acme.counts == {
        name: count for name, count in store.counts("acme").items() if name not in ("backlog", "open")
    }
    assert acme.counts["requests"] == 1
    assert acme.pause is not None
    assert acme.pause.reason == "hand"
    assert stats["other"]._replace(pause=None) == (0, 0, 0, 0, 0, {}, {}, None)


def test_the_oldest_change_of_a_paused_account_is_none_that_was_cancelled(
    store: Store, clock: FakeClock
) -> None:
    """No flush takes what was cancelled out of its queue."""

    def oldest() -> int:
        return metrics_of(store).account_stats(["acme"])["acme"].oldest

    jobs = [receipt.job for receipt in accept(store, change(1, 9), change(1, 10))]
    clock.advance(1.0)
    accept(store, change(1, 11), first=2)
    job_admin_of(store).cancel("acme", jobs, AuditEntry("a", "ada", "cancelled"))
    assert oldest() == START + SECOND
    job_admin_of(store).cancel("acme", ["acme-002"], AuditEntry("b", "ada", "cancelled"))
    assert oldest() == 0


def test_failures_are_counted_by_error_as_they_come_whatever_is_left_of_the_job(store: Store) -> None:
    def count() -> dict[str, int]:
        tally = metrics_of(store).account_stats(["acme"])["acme"].tally
        return {name: by for name, by in tally.items() if name.startswith(("failures", "outcomes"))}

    accept(store, change(1, 9, 10, 11))
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "failed"})
    assert count() == {"failures:ambiguous": 1, "outcomes:failed": 1}
    send_and_settle(lease, "r2", {Relation(BUYER, 1, 10): "failed", Relation(BUYER, 1, 11): "applied"})
    assert count() == {"failures:ambiguous": 2, "outcomes:failed": 2, "outcomes:applied": 1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(several=st.lists(tallies, max_size=4))
def test_counting_one_tally_after_the_other_is_counting_their_sum_in_any_order(
    store: Store, several: list[list[Counts]]
) -> None:
    metrics, account = metrics_of(store), f"a{next(NEW_ACCOUNT)}"
    for counts in several:
        metrics.add(account, tally_of(*counts))
    together = tally_of(*(count for counts in reversed(several) for count in counts))
    assert metrics.account_stats([account])[account].tally == together


@given(st.sampled_from(sorted(BOUNDS)), st.lists(seconds, max_size=10))
def test_every_time_falls_into_the_one_bucket_that_holds_it(name: str, times: list[float]) -> None:
    tally = FlushCounters()
    for each in times:
        tally.time(name, each)
    for below, bound in zip((-1.0, *BOUNDS[name]), (*BOUNDS[name], float("inf")), strict=True):
        assert tally[f"{name}:{bound:g}"] == sum(below < each <= bound for each in times)
    assert tally[f"{name}:us"] == sum(round(each * 1e6) for each in times)


def test_a_request_is_counted_by_what_came_of_it() -> None:
    star = Action("create", BUYER, (1,), (2, 3))
    lost, read = (
        Action("delete", BUYER, (1,), (4,)),
        Action("get", BUYER, (1,), (), asked=(Relation(BUYER, 1, 4),)),
    )
    outcomes = (
        ActionResult(Verdict.REJECTED, 80, ErrorClass.RECORD),
        ActionResult(Verdict.UNKNOWN),
        ActionResult(Verdict.UNKNOWN),
    )
    tally = FlushCounters()
    tally.count_request((star, lost, read), Reply(outcomes, seconds=0.2), "ok")
    assert {name: count for name, count in tally.items() if not name.startswith("latency")} == {
        "requests:ok": 1,
        **{f"actions:{kind}": 1 for kind in ("create", "delete", "get")},
        "carried:create": 2,
        "carried:delete": 1,
        "carried:get": 1,
        "answers:record": 1,
        "answers:unknown": 2,
        "doubts:relations": 1,
        "splits:stars": 1,
    }


def test_an_act_is_counted_once_however_often_it_is_repeated(store: Store) -> None:
    accept(store, change(1, 9), change(1, 10))
    job_admin = job_admin_of(store)
    for _ in range(2):
        job_admin.cancel("acme", ["acme-000", "acme-001"], AuditEntry("d1", "ada", "cancelled"))
    tally = metrics_of(store).account_stats(["acme"])["acme"].tally
    assert tally == {"deed:cancelled": 2, "outcomes:superseded": 2}


def test_a_worker_is_listed_until_it_leaves_or_was_silent_for_an_hour(store: Store) -> None:
    metrics, hour = metrics_of(store), 3_600_000_000
    metrics.record_heartbeat(worker("a", START))
    metrics.record_heartbeat(worker("b", START))
    metrics.record_heartbeat(worker("b", START + hour))
    assert [worker.name for worker in metrics.list_workers()] == ["a", "b"]
    metrics.record_heartbeat(worker("b", START + hour + 1))
    assert metrics.list_workers() == [worker("b", START + hour + 1)]
    metrics.remove_worker("b")
    assert list(metrics.list_workers()) == []


def test_a_dead_worker_that_was_noted_before_the_clock_stepped_back_is_not_alive_for_as_long(
    store: Store,
) -> None:
    metrics, day = metrics_of(store), 86_400_000_000
    metrics.record_heartbeat(worker("a", START + day))
    health = Health(START / 1e6, metrics.list_workers(), SweepStats(), None, {})
    assert health.live_workers == []
    metrics.record_heartbeat(worker("b", START))
    assert metrics.list_workers() == [worker("b", START)]


def test_sweeps_are_counted_with_what_they_repaired(store: Store) -> None:
    metrics = metrics_of(store)
    assert metrics.sweep_stats() == SweepStats()
    metrics.record_sweep(3, at=START)
    metrics.record_sweep(0, at=START + 1)
    assert metrics.sweep_stats() == SweepStats(START + 1, 2, 3)


def test_metrics_that_cannot_be_written_are_no_reason_to_fail() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        metrics = RedisMetrics(Database(connect(f"redis://127.0.0.1:{taken.getsockname()[1]}/0"), "t"))
        metrics.add("acme", tally_of(("waits", "pace", 1)))
        metrics.record_sweep(1, at=START)
        with pytest.raises(StoreUnavailable):
            metrics.account_stats(["acme"])


def test_a_worker_sends_heartbeats_until_it_stops(redis_url: str, redis_client: Redis) -> None:
    metrics = RedisMetrics(Database(redis_client, "t"))
    heartbeat = WorkerHeartbeat(lambda: metrics, interval=0.01)
    heartbeat.start("celery@here", concurrency=3)
    first, deadline = 0, time.monotonic() + 60
    while time.monotonic() < deadline:
        at = [worker.at for worker in metrics.list_workers()]
        first = first or sum(at)
        if sum(at) > first:
            break
    [alive] = metrics.list_workers()
    assert (alive.name, alive.concurrency) == ("celery@here", 3)
    assert alive.at > first > 0
    heartbeat.stop()
    assert metrics.list_workers() == []
