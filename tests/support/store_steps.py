"""The steps of a flush on a store, for the account `acme`; queries and acts on it; a dump of its keys."""

from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis

from tests.support.store_values import (
    BROKER,
    BUYER,
    MONTH,
    NO_LIMIT,
    change,
    intents_by_relation,
    keep_newest,
    leave_open,
    make_request,
    make_request_record,
    settle_all,
    submission,
)
from worker.contract import Change, Relation
from worker.planner.fold import Result
from worker.ports.deliveries import DeliveryRetention
from worker.ports.metrics import Metrics
from worker.ports.pace import Pause
from worker.ports.queries import Queries
from worker.ports.records import AuditEntry, JobFilter, JobRecord
from worker.ports.replays import Replay, ReplayEntry
from worker.ports.store import IntakeBounds, Receipt, Store, UnreadableMessage
from worker.ports.work import Lease, WorkBatch, Writes
from worker.store.database import Database
from worker.store.deliveries import RedisDeliveries
from worker.store.job_admin import RedisJobAdmin
from worker.store.keys import bucket_of, short_id
from worker.store.metrics import RedisMetrics
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock

BASE = "t:{acme}:"


def accept(store: Store, *changes: Change, first: int = 0) -> list[Receipt]:
    """Accept the changes as jobs acme-000, acme-001, …"""
    submissions = [submission(f"{first + number:03d}", each) for number, each in enumerate(changes)]
    return list(store.accept("acme", submissions, IntakeBounds(NO_LIMIT, MONTH)).receipts)


def job_of(store: Store, number: int = 0) -> JobRecord:
    """Return the job that was accepted as this number."""
    job = store.get_job(f"acme-{number:03d}")
    assert job is not None
    return job


def queries_of(store: Store) -> Queries:
    """Return the queries over a store's data."""
    assert isinstance(store, RedisStore)
    return RedisQueries(store.database)


def queued(client: Redis) -> list[str]:
    """Return the ids in the queue."""
    return [f"acme-{short.decode()}" for short in client.lrange(f"{BASE}queue", 0, -1)]


def lose_job(client: Redis, job: str) -> None:
    """Delete a job behind the store's back, as a server that lost a write does."""
    short = short_id(job)
    client.hdel(f"{BASE}jobs:{bucket_of(short)}", short)
    client.hdel(f"{BASE}kept", short)


def job_admin_of(store: Store) -> RedisJobAdmin:
    """Return the job admin over a store's data, with the store's clock."""
    assert isinstance(store, RedisStore)
    return RedisJobAdmin(store.database)


def deliveries_of(
    store: Store, keep: Callable[[str], DeliveryRetention] = lambda _: DeliveryRetention()
) -> RedisDeliveries:
    """Return the deliveries beside a store's data, with the store's clock."""
    assert isinstance(store, RedisStore)
    return RedisDeliveries(store.database, keep=keep)


def metrics_of(store: Store) -> Metrics:
    """Return the metrics beside a store's data."""
    assert isinstance(store, RedisStore)
    return RedisMetrics(store.database)


def count_by_state(metrics: Metrics, account: str) -> dict[str, int]:
    """Return the number of jobs by state (open: now, ended: in all), and of `unresolved` failures."""
    stats = metrics.account_stats([account])[account]
    ended = {state: stats.counts.get(state, 0) for state in ("succeeded", "superseded", "failed")}
    return {**stats.open_jobs, **ended, "unresolved": stats.unresolved}


def list_jobs(store: Store) -> tuple[JobRecord, ...]:
    """Return the jobs, newest first."""
    found = queries_of(store).find_jobs("acme", JobFilter(), limit=1000).entries
    return tuple(sorted(found, key=lambda job: -job.number))  # test ids say nothing of the time


def take_lease(store: Store, holder: str = "h1") -> Lease:
    """Return the lease, which must be free."""
    lease = store.lease("acme", holder)
    assert lease is not None
    return lease


def read_all(lease: Lease) -> WorkBatch:
    """Read all work there is."""
    return lease.read(max_jobs=1000, max_relations=5000)


def claim_all(lease: Lease, *, later: float = 0.0) -> WorkBatch:
    """Claim everything in the inbox, due `later` seconds from now."""
    work, writes = read_all(lease), Writes()
    not_before = work.now + round(later * 1e6) if later else 0
    for relation, intents in intents_by_relation(work.jobs, work.records).items():
        leave_open(relation, intents, {"since": work.now, "not_before": not_before}, writes)
    lease.claim(work.jobs, work.begun, writes)
    return work


def send_and_settle(lease: Lease, request_id: str, results: dict[Relation, Result]) -> Writes:
    """Begin and settle one request, each relation with one result for all its jobs."""
    request = make_request(results)
    signed, writes = lease.begin(request_id, request), Writes()
    assert isinstance(signed, int)
    for relation, intents in intents_by_relation((), lease.records(results)).items():
        settle_all(relation, intents, results[relation], writes)
    writes.requests = (make_request_record(request_id, request, signed),)
    lease.settle(request_id, writes)
    return writes


def dump_keys(client: Redis, pattern: str = "*") -> dict[bytes, Any]:
    """Return every key with its value and whether it expires, without the name of the last commit."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": lambda key: {name: value for name, value in client.hgetall(key).items() if name != b"last"},
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
    """End the lease, as if its ten seconds were over."""
    assert isinstance(store, RedisStore)
    store.database.redis.delete(store.database.key("acme", "holder"))


def come_between(database: Database, act: Callable[[], object]) -> None:
    """Let the act be carried out once, just before the next commit arrives."""
    commit, left = database.scripts["commit"], [act]

    def run(*, keys: Sequence[str], args: Sequence[Any]) -> Any:
        if left:
            left.pop()()
        return commit(keys=keys, args=args)

    database.scripts = {**database.scripts, "commit": run}  # type: ignore[dict-item]


def run_scripts_twice(store: RedisStore, between: Callable[[], object] = lambda: None) -> None:
    """Run every script twice from now on, with the same arguments, as if its first answer had been lost."""

    def run_twice(script: Callable[..., Any]) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            script(**arguments)
            between()
            return script(**arguments)

        return call

    scripts = store.database.scripts
    scripts |= {name: run_twice(script) for name, script in scripts.items()}


def run_every_transition(store: Store, clock: FakeClock) -> None:
    """Do a bit of everything, so that nearly every key exists."""
    accept(
        store,
        change(1, 9, 10, batch="import"),
        change(2, 9, name=BROKER),
        change(3, 9),
        change(3, 9, kind="delete"),
    )
    lease = take_lease(store)
    work, writes = read_all(lease), Writes()
    for relation, intents in intents_by_relation(work.jobs, work.records).items():
        keep_newest(relation, intents, {"since": work.now}, writes)
    lease.claim(work.jobs, work.begun, writes)
    results: dict[Relation, Result] = {
        Relation(BUYER, 1, 9): "applied",
        Relation(BUYER, 1, 10): "failed",
        Relation(BROKER, 2, 9): "applied",
    }
    send_and_settle(lease, "r1", results)
    store.requeue("acme", ["acme-000"])
    lease.begin("r2", make_request([Relation(BUYER, 3, 9)]))
    lease.set_pause(Pause("clock", "136", until=clock.now() + 1))
    clock.advance(1.0)
    accept(store, change(1, 9, kind="modify", info=(("key", "value"),), batch="import"), first=10)
    claim_all(lease, later=3.0)
    lease.renew()
    store.pause("acme", Pause("by hand"))


def run_every_act(store: Store) -> None:
    """Let people do a bit of everything."""
    job_admin, entry = job_admin_of(store), AuditEntry("a1", "ada", "acted", "some jobs")
    message = UnreadableMessage("acme", "celery", "u", ("parentid: is required",), b"{}")
    store.reject("acme", "acme-u", message)
    accept(store, change(7, 9), change(8, 9), first=20)
    failed = store.failed_jobs("acme", limit=9)
    job_admin.cancel("acme", ["acme-020"], entry)
    job_admin.link_replacement(failed[0], ["acme-021"], by="ada")
    job_admin.dismiss("acme", failed, entry)
    replay = Replay(id="acme-r1", account="acme", by="ada", what="all", eligible=1)
    job_admin.save_replay(replay, [ReplayEntry(failed[0])], entry, erasures=0)
    job_admin.set_replay_state("acme-r1", "running", entry)
    job_admin.advance_replay(replay, 0, 1, back=1, missed={}, audit_entry=entry)
    store.resume("acme", audit_entry=entry)
