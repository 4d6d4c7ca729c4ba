"""Laws of keys and lifetimes, of a server that is full or away, and of the scripts as files."""

import re
import socket
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import worker
from tests.support.full_server import out_of_memory
from tests.support.store_steps import (
    BASE,
    accept,
    claim_all,
    dump_keys,
    list_jobs,
    metrics_of,
    queries_of,
    read_all,
    run_every_act,
    run_every_transition,
    send_and_settle,
    take_lease,
)
from tests.support.store_values import BROKER, BUYER, MONTH, NO_LIMIT, START, change, submission
from worker.contract import Relation
from worker.errors import StoreUnavailable
from worker.ids import id_prefix
from worker.limiter.redis_limiter import RedisLimiter
from worker.ports.deliveries import Delivery, KeptDelivery
from worker.ports.metrics import WorkerInfo
from worker.ports.pace import Pause
from worker.ports.store import IntakeBounds, Receipt, Retention
from worker.redis.client import connect
from worker.redis.scripts import Script
from worker.store.database import CONSTANTS
from worker.store.deliveries import RedisDeliveries
from worker.store.intake import REGISTRATION_MEMORY
from worker.store.keys import NEVER, bucket_of
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock, MemoryStore

LUA = sorted(path for path in files("worker.store").joinpath("lua").iterdir() if path.name.endswith(".lua"))

# --- keys and lifetimes


def test_every_key_has_the_hash_tag_and_what_belongs_to_finished_jobs_a_lifetime(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(
        redis_store,
        change(1, 9, batch="import"),
        change(1, 10, batch="import"),
        change(1, 11),
        change(1, 12, name=BROKER),
    )
    lease = take_lease(redis_store)
    claim_all(lease)
    left = dump_keys(redis_client)
    assert not any(ends for key, (_, ends) in left.items() if not key.endswith(b":holder"))
    send_and_settle(
        lease,
        "r1",
        {
            Relation(BUYER, 1, 9): "applied",
            Relation(BUYER, 1, 10): "failed",
            Relation(BUYER, 1, 11): "superseded",
            Relation(BROKER, 1, 12): "stale",
        },
    )
    lease.release()
    left = dump_keys(redis_client)
    assert {key for key in left if not key.startswith(BASE.encode())} == {b"t:accounts"}
    for_ever = {key.decode().removeprefix(BASE) for key, (_, ends) in left.items() if not ends}
    own = {"lease", "meta", "counts", "numbers", "requests", "buckets"}  # the last two become empty
    by_generation = {"events:0", "events:kept", "memories:0", "kept", "keep"}  # dropped by tidy
    assert for_ever == {"t:accounts"} | own | by_generation
    bucket = bucket_of("000")
    days = {
        key: round(redis_client.ttl(f"{BASE}{key}") / 86_400)
        for key in (f"jobs:{bucket}", f"order:{bucket}", "batch:import", "request:r1")
    }
    assert list(days.values()) == [7, 7, 30, 7]


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_failed_jobs_are_listed_as_long_as_they_were_to_be_kept_though_later_ones_are_kept_for_less(
    redis_client: Redis, clock: FakeClock, kind: str
) -> None:
    days = [30.0]

    def keep(_: str) -> Retention:
        return Retention(finished=3600.0, failed=days[0] * 86_400.0)

    made = MemoryStore(clock.now, keep=keep) if kind == "memory" else None
    store = made or RedisStore(redis_client, "t", keep=keep, now=clock.now)
    lease = take_lease(store)
    accept(store, change(1, 9))
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "failed"})
    lease.release()
    days[0] = 1.0
    accept(store, change(1, 10), first=1)
    claim_all(lease := take_lease(store))
    send_and_settle(lease, "r2", {Relation(BUYER, 1, 10): "failed"})
    lease.release()
    if kind == "redis":
        names = ("failed", "failures", *_groups_of_failures(redis_client))
        assert [round(redis_client.ttl(f"{BASE}{name}") / 86_400) for name in names] == [30] * 3
    clock.advance(2 * 86_400.0)
    store.tidy("acme")
    assert store.failed_jobs("acme", limit=9) == ["acme-000"]
    assert [group.jobs for group in queries_of(store).failure_groups("acme")] == [1]


def _groups_of_failures(redis_client: Redis) -> list[str]:
    names = redis_client.smembers(f"{BASE}failures")
    return [f"failed:{name.decode()}" for name in names]


def test_an_event_id_is_known_for_its_time_after_the_end_of_its_job(
    redis_client: Redis, clock: FakeClock
) -> None:
    keep = Retention(finished=3600.0, failed=3600.0, remembered=4 * 86_400.0)
    store = RedisStore(redis_client, "t", keep=lambda _: keep, now=clock.now)
    accept(store, change(1, 9), change(1, 10))
    for _ in range(8):  # a flush that retries for longer than two generations of keys
        clock.advance(86_400.0)
        accept(store, change(1, 9), first=round(clock.monotonic()))
        store.tidy("acme")
    claim_all(lease := take_lease(store))
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied", Relation(BUYER, 1, 10): "failed"})
    lease.release()
    clock.advance(4 * 86_400.0 - 1)
    store.tidy("acme")
    again = [
        submission(f"x{child}", change(1, child), event_id=event)
        for child, event in ((9, "000"), (10, "001"))
    ]
    receipts = store.accept("acme", again, IntakeBounds(NO_LIMIT, MONTH)).receipts
    assert receipts == (Receipt("acme-000", duplicate=True), Receipt("acme-001", duplicate=True))


@pytest.mark.parametrize("turns", ["accept", "tidy"])
def test_an_event_id_is_known_while_its_job_is_open_however_close_to_it_a_generation_began(
    redis_store: RedisStore, clock: FakeClock, turns: str
) -> None:
    period, started = 7 * 86_400.0, clock.monotonic()

    def accept_now(name: str) -> Receipt:
        job = f"{id_prefix(clock.now())}{name}"
        asked = [submission(job, change(1, 9), event_id=name)]
        return redis_store.accept("acme", asked, IntakeBounds(NO_LIMIT, MONTH)).receipts[0]

    accept_now("first")
    claim_all(lease := take_lease(redis_store))
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied"})
    lease.release()
    clock.advance(period - 1.0)
    job = accept_now("open").job
    clock.advance(2.0)
    accept_now("of the next generation")
    while clock.monotonic() < started + 4 * period:
        clock.advance(86_400.0)
        if turns == "tidy":
            redis_store.tidy("acme")
        else:
            accept_now(f"of {clock.monotonic()}")
    assert accept_now("open") == Receipt(job, duplicate=True)


def test_a_requeued_job_keeps_its_batch_and_itself_while_it_is_open(
    redis_store: RedisStore, redis_client: Redis, clock: FakeClock
) -> None:
    accept(redis_store, change(1, 9, batch="import"))
    lease = take_lease(redis_store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "failed"})
    assert redis_client.ttl(f"{BASE}batch:import") > 0
    redis_store.requeue("acme", ["acme-000"])
    assert redis_client.ttl(f"{BASE}batch:import") == -1
    clock.advance(2 * MONTH)
    redis_store.tidy("acme")
    again = [submission("x", change(1, 9, batch="import"), event_id="000")]
    receipts = redis_store.accept("acme", again, IntakeBounds(NO_LIMIT, MONTH)).receipts
    assert receipts == (Receipt("acme-000", duplicate=True),)
    claim_all(lease := take_lease(redis_store))
    send_and_settle(lease, "r2", {Relation(BUYER, 1, 9): "applied"})
    assert redis_client.ttl(f"{BASE}batch:import") > 0
    accept(redis_store, change(1, 10, batch="import"), first=1)
    assert redis_client.ttl(f"{BASE}batch:import") == -1


def test_failed_jobs_that_expired_leave_the_indexes(
    redis_store: RedisStore, redis_client: Redis, clock: FakeClock
) -> None:
    accept(redis_store, change(1, 9), change(1, 10), change(1, 11))
    lease = take_lease(redis_store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, child): "failed" for child in (9, 10)})
    lease.release()
    clock.advance(MONTH)
    assert redis_store.requeue("acme", ["acme-000", "acme-001"]) == ([], False)
    assert redis_store.failed_jobs("acme", limit=10) == []
    assert redis_store.tidy("acme") == 0
    gone = ("kept", "keep", "events:kept", "failed", f"failed:78 ambiguous {BUYER}")
    assert not redis_client.exists(*(f"{BASE}{name}" for name in gone))
    assert [job.id for job in list_jobs(redis_store)] == ["acme-002"]


def test_every_script_touches_only_keys_that_it_declares_all_of_its_account(
    redis_store: RedisStore,
    redis_client: Redis,
    clock: FakeClock,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declared, called, call = list[Sequence[str]](), set[Script](), Script.__call__

    def noted(script: Script, *, keys: Sequence[str], args: Sequence[Any]) -> Any:
        declared.append(keys)
        called.add(script)
        is_whole = len(keys) == 1 or "no-writes" in script._text or keys[-1].endswith(f":{NEVER}")
        assert is_whole, keys  # or it would end half done where it empties a key of a slot that moves
        return call(script, keys=keys, args=args)

    limiter = RedisLimiter(redis_client, "t")
    scripts: Any = {*redis_store.database.scripts.values(), *limiter._scripts.values()}
    for script in scripts:
        redis_client.script_load(script._text)
    monkeypatch.setattr(Script, "__call__", noted)
    with Redis.from_url(redis_url) as other, other.monitor() as monitor:
        run_every_transition(redis_store, clock)
        run_every_act(redis_store)
        redis_store.due_accounts(["acme"])
        redis_store.tidy("acme")
        reads = redis_store.database.reads("acme", at_once=True)
        reads.hgetall("meta")
        reads.run()
        deliveries = RedisDeliveries(redis_store.database)
        deliveries.keep(KeptDelivery(Delivery(id="immo-1", source="immo", outcome="no_rule"), b"body"))
        deliveries.tidy("immo")
        metrics_of(redis_store).record_sweep(0, at=clock.now())
        limiter.refund("acme", limiter.book("acme", rate=1.0, burst=1, max_wait=0.0))
        limiter.report("acme", "failed")
        redis_client.echo("the end")
        commands = list(until_echo(monitor))
    calls, keys, touched = iter(declared), list[str](), set[str]()
    for command in commands:
        name, _, rest = command["command"].partition(" ")
        if name == "EVALSHA":
            keys = list(next(calls))
            assert len({key.partition("}")[0] for key in keys}) == 1
            assert keys[0].startswith((BASE, "t:{webhook:immo}:", "t:sweep"))
        elif command["client_type"] == "lua" and name != "TIME":
            found = [key for key in keys if rest == key or rest.startswith(f"{key} ")]
            assert found, command
            touched.update(found)
    assert next(calls, None) is None
    assert len(touched) > 25
    assert not any(key.endswith(f":{NEVER}") for key in touched)
    assert {script._text for script in called} == {script._text for script in scripts}
    folders = {path.parent for path in Path(worker.__file__).parent.rglob("*.lua")}
    assert {folder.parent.name for folder in folders} == {"store", "limiter"}  # whose scripts these are


def until_echo(monitor: Any) -> Iterator[dict[str, Any]]:
    """Yield the commands that the server got before the echo."""
    while not (command := monitor.next_command())["command"].startswith("ECHO"):
        yield command


# --- a server that is full, or away


def test_a_full_server_accepts_nothing_but_lets_the_backlog_drain(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9), change(1, 10))
    with out_of_memory(redis_client):
        before = dump_keys(redis_client)
        with pytest.raises(StoreUnavailable):
            accept(redis_store, change(2, 9), change(2, 10), first=10)
        with pytest.raises(StoreUnavailable):
            redis_store.accept(
                "baker", [submission("1", change(1, 9, account="baker"))], IntakeBounds(NO_LIMIT, MONTH)
            )
        assert dump_keys(redis_client) == before
        lease = take_lease(redis_store)
        claim_all(lease)
        send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied", Relation(BUYER, 1, 10): "failed"})
        with pytest.raises(StoreUnavailable):
            redis_store.requeue("acme", ["acme-001"])
        lease.set_pause(Pause("clock", until=START + 1))
        lease.renew()
        assert lease.release() is None
        assert redis_store.due_accounts(["acme"]) == []
    assert [job.state for job in list_jobs(redis_store)] == ["failed", "succeeded"]


def test_who_is_alive_says_so_to_a_full_server(redis_store: RedisStore, redis_client: Redis) -> None:
    metrics = metrics_of(redis_store)
    worker = WorkerInfo(name="w1", hostname="host", pid=1, concurrency=2, version="1", at=START)
    with out_of_memory(redis_client):
        metrics.record_heartbeat(worker)
        metrics.record_sweep(1, at=START + 1)
        assert metrics.list_workers() == [worker]
        assert metrics.sweep_stats().at == START + 1
        metrics.remove_worker(worker.name)
    assert metrics.list_workers() == []


def test_a_server_that_is_away_is_unavailable_and_not_an_error_of_redis() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        store = RedisStore(connect(f"redis://127.0.0.1:{taken.getsockname()[1]}/0"), "t")
        with pytest.raises(StoreUnavailable):
            accept(store, change(1, 9))
        with pytest.raises(StoreUnavailable):
            store.get_job("acme-1")


def test_an_account_that_the_registry_has_lost_is_registered_again(
    redis_store: RedisStore, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 1000.0
    monkeypatch.setattr("worker.store.database.monotonic", lambda: seconds)
    accept(redis_store, change(1, 9))
    assert redis_store.accounts() == ["acme"]
    redis_client.flushall()  # as an older backup or a failover may
    seconds += REGISTRATION_MEMORY - 1
    accept(redis_store, change(1, 9))
    assert redis_store.accounts() == []  # one round trip per minute, not per change
    seconds += 1
    accept(redis_store, change(1, 9))
    assert redis_store.accounts() == ["acme"]


def test_without_a_given_now_the_servers_clock_counts(redis_client: Redis) -> None:
    redis_store, (seconds, _) = RedisStore(redis_client, "t"), redis_client.time()
    accept(redis_store, change(1, 9))
    work = read_all(take_lease(redis_store))
    assert abs(work.now - seconds * 1_000_000) < 60_000_000
    assert redis_store.get_pause("acme") is None


# --- the files


@pytest.mark.parametrize("path", LUA, ids=lambda path: path.name)
def test_each_script_states_its_signature_and_invariant(path: Any) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) < 120
    assert max(map(len, lines)) <= 110
    name = path.name.removesuffix(".lua")
    # What brings something in is refused; all others must run on a full server (R23).
    flags = {"accept": "", "deliver": "", "read": " flags=no-writes,allow-oom"}
    assert lines[0] == f"#!lua{flags.get(name, ' flags=allow-oom')}"
    header = [line for line in lines[1:12] if line.startswith("-- ")]
    assert header[0].startswith((f"-- {name}(meta, ", "-- note(hash; "))
    assert any("→" in line for line in header)
    assert any(line.startswith("-- Invariant: ") for line in header)


def test_what_brings_something_in_is_refused_by_a_full_server_and_nothing_else(
    redis_store: RedisStore,
) -> None:
    first_lines = {
        name: script._text.partition("\n")[0] for name, script in redis_store.database.scripts.items()
    }
    assert {name for name, line in first_lines.items() if "allow-oom" not in line} == {
        "accept",
        "add",
        "deliver",
    }


def test_scripts_name_only_constants_of_their_own_or_of_the_limits() -> None:
    text = "\n".join(re.sub(r"--.*|'[^']*'", "", path.read_text()) for path in LUA)
    used = set(re.findall(r"\b[A-Z][A-Z_]+[A-Z]\b", text)) - {"KEYS", "ARGV"}
    assert used <= {*re.findall(r"[A-Z_]+(?=[A-Z_, ]*=)", text), *CONSTANTS}
