"""The steps of a flush on a real store, and a look at all it left."""

from collections.abc import Callable
from typing import Any

from redis import Redis

from tests.support.store_moves import (
    BROKER,
    BUYER,
    MONTH,
    PLENTY,
    change,
    intents_by_relation,
    keep_newest,
    leave,
    record_of,
    request_about,
    settle_all,
    submission,
)
from worker.contract import Change, Relation
from worker.planner.fold import Result
from worker.ports import (
    JobAdmin,
    JobFilter,
    JobRecord,
    Lease,
    Pause,
    Queries,
    Receipt,
    Store,
    WorkBatch,
    Writes,
)
from worker.store.job_admin import RedisJobAdmin
from worker.store.lease import Scripts
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock, MemoryJobAdmin, MemoryQueries, MemoryStore

BASE = "t:{acme}:"


def accept(store: Store, *changes: Change, first: int = 0) -> list[Receipt]:
    """The changes accepted as jobs acme-000, acme-001, …"""
    submissions = [submission(f"{first + number:03d}", each) for number, each in enumerate(changes)]
    return list(store.accept("acme", submissions, max_backlog=PLENTY, oldest=MONTH).receipts)


def questions(store: Store) -> Queries:
    """What can be asked of a store."""
    if isinstance(store, RedisStore):
        return RedisQueries(store._client, store._prefix)
    assert isinstance(store, MemoryStore)
    return MemoryQueries(store)


def acts(store: Store) -> JobAdmin:
    """What can be done to it by people."""
    if isinstance(store, RedisStore):
        return RedisJobAdmin(store._client, store._prefix, now=lambda: int(store._now()))
    assert isinstance(store, MemoryStore)
    return MemoryJobAdmin(store)


def jobs(store: Store) -> tuple[JobRecord, ...]:
    """The jobs of acme, newest first."""
    return questions(store).find_jobs("acme", JobFilter(), limit=1000).jobs


def lease(store: Store, holder: str = "h1") -> Lease:
    """The lease of acme."""
    held = store.lease("acme", holder)
    assert held is not None
    return held


def read(held: Lease) -> WorkBatch:
    """All there is."""
    return held.read(max_jobs=1000, max_relations=5000)


def take(held: Lease, *, later: float = 0.0) -> WorkBatch:
    """Everything in the inbox made open."""
    work, writes = read(held), Writes()
    for relation, wishes in intents_by_relation(work.jobs, work.records).items():
        leave(
            relation,
            wishes,
            {"since": work.now, "not_before": work.now + round(later * 1e6) if later else 0},
            writes,
        )
    held.claim(work.jobs, work.begun, writes)
    return work


def settle(held: Lease, request_id: str, results: dict[Relation, Result]) -> Writes:
    """One request begun and settled, each relation with one result for all its jobs."""
    request = request_about(results)
    signed, writes = held.begin(request_id, request), Writes()
    assert isinstance(signed, int)
    for relation, wishes in intents_by_relation((), held.records(results)).items():
        settle_all(relation, wishes, results[relation], writes)
    writes.request = record_of(request_id, request, signed)
    held.settle(request_id, writes)
    return writes


def contents(client: Redis, pattern: str = "*") -> dict[bytes, Any]:
    """Every key with its value and whether it ends."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": client.hgetall,
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"set": client.smembers,
    }
    return {
        key: (readers[client.type(key)](key), client.pttl(key) > 0)
        for key in client.scan_iter(pattern, count=1000)
    }


def expire_lease(store: Store) -> None:
    """Its ten seconds are over."""
    if isinstance(store, RedisStore):
        store._client.delete(f"{BASE}lease")
    elif isinstance(store, MemoryStore):
        store._state("acme").held = None


def stammer(store: RedisStore, between: Callable[[], object] = lambda: None) -> None:
    """From now on every script is run twice with the same arguments: its first answer got lost."""

    def twice(script: Callable[..., Any]) -> Callable[..., Any]:
        def call(**how: Any) -> Any:
            script(**how)
            between()
            return script(**how)

        return call

    store._scripts = Scripts(*map(twice, store._scripts))


def live(store: Store, clock: FakeClock) -> None:
    """A bit of everything."""
    accept(
        store,
        change(1, 9, 10, batch="import"),
        change(2, 9, name=BROKER),
        change(3, 9),
        change(3, 9, kind="delete"),
    )
    held = lease(store)
    work, writes = read(held), Writes()
    for relation, wishes in intents_by_relation(work.jobs, work.records).items():
        keep_newest(relation, wishes, {"since": work.now}, writes)
    held.claim(work.jobs, work.begun, writes)
    settle(
        held,
        "r1",
        {
            Relation(BUYER, 1, 9): "applied",
            Relation(BUYER, 1, 10): "failed",
            Relation(BROKER, 2, 9): "applied",
        },
    )
    store.requeue("acme", ["acme-000"])
    held.begin("r2", request_about([Relation(BUYER, 3, 9)]))
    held.set_pause(Pause("clock", "136", until=clock.now() + 1))
    clock.sleep(1.0)
    accept(store, change(1, 9, kind="modify", info=(("key", "value"),), batch="import"), first=10)
    take(held, later=3.0)
    held.renew()
    store.pause("acme", Pause("by hand"))
