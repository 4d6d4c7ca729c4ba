"""The bytes of an account's backlog have a bound, and what leaves the queue makes room."""

import pytest

from tests.support.store_steps import accept, claim_all, job_admin_of
from tests.support.store_values import MONTH, change, submission
from worker.errors import BacklogFull
from worker.ports.records import AuditEntry
from worker.ports.store import IntakeBounds, Receipt, Store
from worker.store.redis_store import RedisStore

BIG = [change(501, *range(2**50, 2**50 + 500)), change(502, *range(2**50, 2**50 + 500))]  # 4.5 kB each
ROOM = 10_000


def take(store: Store, name: str, number: int = 0) -> list[Receipt]:
    entry = submission(name, BIG[number])
    return list(store.accept("acme", [entry], IntakeBounds(1000, MONTH, ROOM)).receipts)


def bytes_of(store: Store) -> int:
    assert isinstance(store, RedisStore)
    reads = store.database.reads("acme")
    reads.hget("meta", "bytes")
    return int(reads.run()[0] or 0)


def test_what_is_beyond_the_bound_is_refused_whole_by_its_name(store: Store) -> None:
    take(store, "1")
    one = bytes_of(store)
    assert 4_000 < one < 5_000
    take(store, "2")
    with pytest.raises(
        BacklogFull, match="would be more than max_backlog_bytes, 10000; try again"
    ) as refused:
        take(store, "3")
    assert refused.value.retry_after > 0
    assert bytes_of(store) == 2 * one
    assert take(store, "2")[0].job == "acme-2"  # repeated, it is known, and needs no room


def test_what_is_claimed_or_cancelled_makes_room(store: Store) -> None:
    take(store, "1")
    take(store, "2")
    lease = store.lease("acme", "h")
    assert lease
    claim_all(lease)
    lease.release()
    assert bytes_of(store) == 0
    take(store, "3")
    take(store, "4")
    job_admin_of(store).cancel("acme", ["acme-3", "acme-4"], AuditEntry("a", "ada", "cancelled"))
    take(store, "5")
    assert 4_000 < bytes_of(store) < 5_000  # nothing waited any more, so it counts from the beginning


def test_small_changes_are_not_kept_out(store: Store) -> None:
    accept(store, *(change(number, 9) for number in range(1, 50)))
    assert 49 * 40 < bytes_of(store) < 49 * 120
