"""Laws of the store in memory that need a clock which can be moved, and of the clock."""

from copy import deepcopy

from tests.support.store_steps import accept, claim_all, list_jobs, read_all, send_and_settle, take_lease
from tests.support.store_values import BUYER, MONTH, NO_LIMIT, START, change, submission
from worker.contract import Relation
from worker.ports import Clock
from worker.ports.store import IntakeBounds, Retention, Store
from worker.ports.work import LeaseKeeper
from worker.testing import FakeClock, MemoryStore, skip_renewal

WEEK = 7 * 86_400.0


def test_finished_jobs_and_all_that_belongs_to_them_expire(
    clock: FakeClock,
) -> None:
    store, relation = MemoryStore(clock.now), Relation(BUYER, 1, 9)
    accept(store, change(1, 9, batch="import"), change(1, 10, batch="import"))
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {relation: "applied", Relation(BUYER, 1, 10): "failed"})
    lease.release()
    clock.advance(WEEK)
    assert [job.id for job in list_jobs(store)] == ["acme-001"]
    assert store.get_request("acme", "r1") is None
    assert store.batch_counts("acme", "import")["accepted"] == 2
    again = submission("002", change(1, 9), event_id="000")
    assert store.accept("acme", [again], IntakeBounds(NO_LIMIT, MONTH)).receipts[0].duplicate
    for _ in range(2):  # the idempotency keys of two generations
        clock.advance(1.0)
        store.tidy("acme")
        clock.advance(WEEK)
    store.tidy("acme")
    assert not store.accept("acme", [again], IntakeBounds(NO_LIMIT, MONTH)).receipts[0].duplicate
    clock.advance(MONTH - 3 * WEEK)
    assert store.get_job("acme-001") is None
    assert store.relation_history("acme", relation)[1] == ()
    assert store.failed_jobs("acme", limit=10) == []
    assert store.requeue("acme", ["acme-001"]) == ([], False)
    assert store.tidy("acme") == 0
    assert [job.id for job in list_jobs(store)] == ["acme-002"]


def test_a_requeued_job_is_kept_while_it_is_open_and_so_is_its_batch(clock: FakeClock) -> None:
    store = MemoryStore(clock.now)
    accept(store, change(1, 9, batch="import"))
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "failed"})
    store.requeue("acme", ["acme-000"])
    clock.advance(2 * MONTH)
    assert store.batch_counts("acme", "import")["accepted"] == 1
    assert store.get_job("acme-000") is not None
    assert [job.job for job in read_all(take_lease(store)).jobs] == ["acme-000"]
    accept(store, change(1, 10, batch="finished"), first=1)
    claim_all(take_lease(store))
    send_and_settle(take_lease(store), "r2", {Relation(BUYER, 1, 10): "applied"})
    accept(store, change(1, 11, batch="finished"), first=2)
    clock.advance(2 * MONTH)
    assert store.batch_counts("acme", "finished")["accepted"] == 2


def test_retention_is_set_per_account(clock: FakeClock) -> None:
    store = MemoryStore(clock.now, keep=lambda account: Retention(finished=1.0 if account == "acme" else 2.0))
    accept(store, change(1, 9))
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied"})
    clock.advance(1.0)
    assert store.get_job("acme-000") is None


def test_a_lease_that_is_not_renewed_for_ten_seconds_is_free_again(clock: FakeClock) -> None:
    store = MemoryStore(clock.now)
    lease = take_lease(store)
    clock.advance(9.0)
    lease.renew()
    clock.advance(9.999)
    assert store.lease("acme", "other") is None
    clock.advance(0.001)
    assert store.lease("acme", "other") is not None


def test_a_copy_is_independent(clock: FakeClock) -> None:
    store = MemoryStore(clock.now)
    accept(store, change(1, 9), change(1, 10))
    branch = deepcopy(store)
    claim_all(take_lease(branch))
    assert len(read_all(take_lease(store)).jobs) == 2
    assert branch.counts("acme")["open"] == 2


def test_the_clock_moves_only_by_sleep_and_to_the_microsecond() -> None:
    clock = FakeClock(START)
    as_port: Clock = clock
    as_port.sleep(0.1)
    as_port.sleep(0.000_001)
    assert (clock.now(), as_port.monotonic()) == (START + 100_001, 0.100_001)


def test_the_store_and_the_keeper_fit_their_ports(clock: FakeClock) -> None:
    store: Store = MemoryStore(clock.now)
    keeper: LeaseKeeper = skip_renewal
    lease = take_lease(store)
    with keeper(lease):
        store.accept("acme", [submission("1", change(1, 9))], IntakeBounds(NO_LIMIT, MONTH))
    assert lease.release() == 0.0
