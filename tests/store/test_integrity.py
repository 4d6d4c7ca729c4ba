"""Laws of what is stored: whatever happened, nothing contradicts itself; what was broken is mended."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from ops.dev.redis_server import RedisServer
from tests.store.test_stores_are_equal import ACCOUNTS, SideBySide
from tests.support.broken_stores import BREAKS, Place, add_due, inspector_of
from tests.support.store_steps import BASE, accept, claim_all, job_of, read_all, send_and_settle, take_lease
from tests.support.store_values import (
    BUYER,
    MONTH,
    NO_LIMIT,
    change,
    intents_by_relation,
    look_up_results,
    name_by_references,
    settle_all,
    submission,
)
from worker.contract import Relation
from worker.ports.erasure import ERASED
from worker.ports.integrity import Inspection
from worker.ports.job_admin import CANCELLED
from worker.ports.store import IntakeBounds, Store
from worker.ports.work import Writes
from worker.store.jobs import job_references
from worker.store.jobs.stored_job import FAILED, PARKED, QUEUED, READ, SENDING, SUCCEEDED, LoadedJob
from worker.store.keys import bucket_of
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock

ENDS = ("succeeded", "superseded", "failed")


class Broken(SideBySide):
    """The machine that drives both stores; when it ends, one thing after the other is broken, and mended."""

    def teardown(self) -> None:
        for account in ACCOUNTS:
            self.expire(account)
            for store in (self.memory, self.redis):
                store.tidy(account)
                assert inspector_of(store).inspect(account).flaws == ()
            assert inspector_of(self.redis).check_readable(account) == ()
        for store in (self.memory, self.redis):
            place = Place(store.database, "acme", random.Random(self.ids))
            waiting = [job.short for job in place.jobs() if job.is_open]
            # The dictionary answers much faster, and the store is the same.
            for way in place.chance.sample(BREAKS, k=len(BREAKS) if store is self.memory else 6):
                if way(place):
                    found = inspector_of(store).inspect("acme", repair=True)
                    assert found.mended, (way, found)
                    again = inspector_of(store).inspect("acme")
                    assert again.flaws == (), (way, found.flaws, again.flaws)
            drain(store, self.clock)
            ended = [store.get_job(f"acme-{short}") for short in waiting]
            assert all(job and job.state in ENDS for job in ended), ended
            assert all(job.by for job in ended if job and job.state == "superseded"), ended
            assert all(map(has_read, place.jobs()))
            assert inspector_of(store).inspect("acme").flaws == ()


def has_read(job: LoadedJob) -> bool:
    """Return whether a job is no replace that has succeeded without a read of what it had to remove."""
    v = job.value
    return v.state != SUCCEEDED or not v.replaces or v.phase == READ or v.by in (CANCELLED, ERASED)


def drain(store: Store, clock: FakeClock) -> None:
    """Work everything that is left, as flushes do."""
    for turn in range(20):
        clock.advance(60.0)
        lease = store.lease("acme", f"drain-{turn}")
        assert lease is not None
        results, found = look_up_results(lease.read_look_ups(1000), ["found"], park=False)
        lease.write_look_ups(results, found, memory=60.0)
        work = lease.read(max_jobs=1000, max_relations=5000)
        writes = Writes()
        for relation, intents in intents_by_relation(work.jobs, work.records).items():
            settle_all(relation, intents, "applied", writes)
        assert lease.claim(work.jobs, work.begun, writes)
        lease.release()
        counts = store.counts("acme")
        if not (counts["backlog"] or counts["open"] or counts.get("parked")):
            return
    raise AssertionError(f"something is left: {store.counts('acme')}")


def test_nothing_contradicts_itself_and_what_is_broken_is_mended_and_no_change_is_lost(
    redis_server: RedisServer,
) -> None:
    with Redis.from_url(redis_server.url) as client:
        machine = type("Machine", (Broken,), {"client": client})
        quiet = settings(
            max_examples=max(1, settings().max_examples * 2 // 5),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.reuse, Phase.generate),
        )
        run_state_machine_as_test(machine, settings=quiet)


def test_what_finds_a_create_in_doubt_may_outlive_its_memory_until_the_account_is_tidied(
    store: Store,
) -> None:
    assert isinstance(store, RedisStore)
    accept(store, change(1, 9))
    place = Place(store.database, "acme", random.Random(1))
    assert place.run("ZADD", "guard", 0, "estate:address:buyer::11|c|estate:address:buyer:2:11")
    assert inspector_of(store).inspect("acme").flaws == ()
    store.tidy("acme")
    assert place.redis.zrange(place.key("guard"), 0, -1) == []


def test_what_is_lost_for_good_is_counted_and_told_once(store: Store, clock: FakeClock) -> None:
    accept(store, change(1, 9), change(1, 10))
    assert isinstance(store, RedisStore)
    redis, base = store.database.redis, store.database.key("acme", "")
    redis.hdel(f"{base}jobs:{bucket_of('000')}", "000")
    found = inspector_of(store).inspect("acme", repair=True)
    assert {flaw.kind for flaw in found.flaws} == {"lost", "counter"}
    assert found.mended
    assert store.counts("acme")["lost"] == 1
    assert inspector_of(store).inspect("acme") == Inspection(jobs=1)


def test_a_flush_that_finds_nothing_doubles_its_own_delay_until_there_is_work(
    store: Store, clock: FakeClock
) -> None:
    assert isinstance(store, RedisStore)
    accept(store, change(1, 9))
    drain(store, clock)
    delays = []
    for turn in range(15):
        lease = take_lease(store, f"h{turn}")
        assert read_all(lease).jobs == ()
        broken = Place(store.database, "acme", random.Random(1))
        assert add_due(broken)  # after the read, which would mend it
        delays.append(lease.release())
        if delays[-1]:
            clock.advance(delays[-1])
    assert delays == [min(0.05 * 2**turn, 60.0) for turn in range(15)]
    answer = store.accept("acme", [submission("9", change(2, 9))], IntakeBounds(NO_LIMIT, MONTH))
    assert answer.wake  # what is new has a message of its own, and waits for nothing
    lease = take_lease(store, "new")
    assert len(read_all(lease).jobs) == 1
    assert lease.release() == 0.0
    lease = take_lease(store, "again")
    claim_all(lease)
    lease.release()
    assert take_lease(store, "last").release() is not None


def test_a_read_mends_what_it_sees_and_says_so(store: Store, clock: FakeClock) -> None:
    assert isinstance(store, RedisStore)
    accept(store, change(1, 9))
    broken = Place(store.database, "acme", random.Random(1))
    assert add_due(broken)
    broken.run("HINCRBY", "meta", "dead", 3)
    broken.run("HINCRBY", "meta", "held", 2)
    work = read_all(take_lease(store))
    assert [(flaw.kind, flaw.subject.split(":")[0]) for flaw in work.mended] == [
        ("due", "estate"),
        ("counter", "held"),
        ("counter", "dead"),
    ]
    assert [job.job for job in work.jobs] == ["acme-000"]
    assert store.counts("acme")["backlog"] == 1


def test_the_sweep_mends_an_account_that_rests_with_open_jobs(store: Store, clock: FakeClock) -> None:
    assert isinstance(store, RedisStore)
    accept(store, change(1, 9))
    lease = take_lease(store)
    claim_all(lease, later=3.0)
    lease.release()
    assert inspector_of(store).mend("acme") == ()
    base = store.database.key("acme", "")
    store.database.redis.delete(f"{base}open", f"{base}due")
    assert store.due_accounts(["acme"]) == []  # nothing shows that there is work
    assert [flaw.kind for flaw in inspector_of(store).mend("acme")] == ["job"]
    clock.advance(60.0)
    assert store.due_accounts(["acme"]) == ["acme"]
    drain(store, clock)
    assert store.counts("acme")["succeeded"] == 1


def test_the_sweep_asks_once_for_signs_and_counts_the_jobs_of_no_sound_account(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9))

    client: Any = redis_client
    nodes = [client.get_redis_connection(node) for node in getattr(client, "get_primaries", list)()]

    def count_calls(command: str) -> int:
        stats = [node.info("commandstats") for node in nodes or [client]]
        return sum(found.get(f"cmdstat_{command}", {}).get("calls", 0) for found in stats)

    before = count_calls("hlen"), count_calls("hmget")
    assert inspector_of(redis_store).mend("acme") == ()
    assert (count_calls("hlen"), count_calls("hmget")) == (before[0] + 2, before[1] + 2)


@pytest.mark.parametrize(("is_parked", "broken"), [(True, QUEUED), (False, PARKED)])
def test_what_waits_for_a_record_waits_as_it_says(
    store: Store, clock: FakeClock, is_parked: bool, broken: int
) -> None:
    assert isinstance(store, RedisStore)
    accept(store, name_by_references(change(1, 9), "child"))
    if is_parked:
        lease = take_lease(store)
        results, found = look_up_results(lease.read_look_ups(10), ["none"], park=True)
        lease.write_look_ups(results, found, memory=60.0)
        lease.release()
    place = Place(store.database, "acme", random.Random(1))
    (job,) = place.jobs()
    job.value.state = broken
    place.put(job)
    found_flaws = inspector_of(store).inspect("acme", repair=True).flaws
    assert "job" in {flaw.kind for flaw in found_flaws}
    assert inspector_of(store).inspect("acme").flaws == ()
    drain(store, clock)
    assert inspector_of(store).inspect("acme").flaws == ()
    assert store.counts("acme")["succeeded"] == 1


def test_a_lease_without_an_end_gets_one(redis_store: RedisStore, redis_client: Redis) -> None:
    accept(redis_store, change(1, 9))
    take_lease(redis_store)
    redis_client.persist(redis_store.database.key("acme", "holder"))
    assert redis_store.lease("acme", "another") is None
    assert 0 < redis_client.pttl(redis_store.database.key("acme", "holder")) <= 10_000


def test_a_mark_of_a_message_is_believed_for_an_hour_at_most(store: Store, clock: FakeClock) -> None:
    assert isinstance(store, RedisStore)
    accept(store, change(1, 9))
    Place(store.database, "acme", random.Random(1)).run("HSET", "wake", "delay", 10**15)
    clock.advance(3601.0)
    assert store.due_accounts(["acme"]) == ["acme"]


def test_a_stranded_replace_whose_creates_are_known_still_reads_what_it_has_to_remove(
    store: Store, clock: FakeClock
) -> None:
    assert isinstance(store, RedisStore)
    accept(store, msgspec.structs.replace(change(1, 9, kind="replace"), replaces="child"))
    lease = take_lease(store)
    claim_all(lease, later=3.0)
    place = Place(store.database, "acme", random.Random(1))
    (before,) = place.jobs()
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied"})
    lease.release()
    place.run("LTRIM", "look_ups", 1, 0)  # the server lost what settling wrote, but for the memory
    place.put(before)
    assert inspector_of(store).inspect("acme", repair=True).mended
    (after,) = place.jobs()
    assert job_references.waits(after)
    drain(store, clock)
    assert has_read(place.jobs()[0])
    assert job_of(store).counts["applied"] == 2  # one that it names, and one that it has removed


@pytest.mark.parametrize("state", [SENDING, SUCCEEDED, FAILED])
@pytest.mark.parametrize("replaces", [True, False])
def test_what_waits_to_be_looked_up_and_says_something_else_is_looked_up_and_not_lost(
    store: Store, clock: FakeClock, state: int, replaces: bool
) -> None:
    assert isinstance(store, RedisStore)
    asked = change(1, 9, kind="replace" if replaces else "create")
    named = name_by_references(asked, "child")
    accept(store, msgspec.structs.replace(asked, replaces="child") if replaces else named)
    if replaces:
        lease = take_lease(store)
        claim_all(lease)
        send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied"})
        lease.release()
    place = Place(store.database, "acme", random.Random(1))
    (job,) = place.jobs()
    assert job_references.waits(job)
    job.value.state = state
    place.put(job)
    assert inspector_of(store).inspect("acme", repair=True).mended
    assert inspector_of(store).inspect("acme").flaws == ()
    drain(store, clock)
    assert inspector_of(store).inspect("acme").flaws == ()
    found = job_of(store)
    assert (found.state, found.counts["applied"], found.counts["superseded"]) == (
        "succeeded",
        1 + replaces,
        0,
    )


def test_nothing_of_a_batch_that_is_being_worked_is_unreadable(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9))
    lease = take_lease(redis_store)
    claim_all(lease)
    assert redis_client.hget(f"{BASE}work", "held")
    assert inspector_of(redis_store).check_readable("acme", repair=True) == ()
    lease.release()
    assert inspector_of(redis_store).inspect("acme").flaws == ()


def test_keys_of_which_only_another_release_knows_stay(redis_store: RedisStore, redis_client: Redis) -> None:
    accept(redis_store, change(1, 9))
    redis_client.zadd(f"{BASE}of_tomorrow", {"acme-1": 1})
    assert inspector_of(redis_store).check_readable("acme", repair=True) == ()
    assert redis_client.exists(f"{BASE}of_tomorrow")
