"""The law of what is stored: whatever happened, nothing contradicts itself; what was broken is mended."""

import random

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from ops.dev.redis_server import RedisServer
from tests.store.test_stores_are_equal import ACCOUNTS, SideBySide
from tests.support.broken_stores import BREAKS, Place
from tests.support.store_values import intents_by_relation, settle_all
from worker.contract import TYPES, Relation, guarded_side
from worker.planner.guard import guard_key
from worker.ports import Store, Writes
from worker.store.inspection import RedisInspector
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock

ENDS = ("succeeded", "superseded", "failed")


def guard_of(_account: str, relation: Relation) -> str:
    """Return the record that the relation's type guards."""
    return guard_key(relation, guarded_side(TYPES[relation.type]))


def inspector_of(store: Store) -> RedisInspector:
    """Return the inspector of a store's data."""
    assert isinstance(store, RedisStore)
    numbers = iter(range(10**6))
    return RedisInspector(
        store, clock=FakeClock(), new_id=lambda: f"inspector-{next(numbers)}", guard_of=guard_of
    )


class Lawful(SideBySide):
    """The machine that drives both stores, which looks at the law when it ends."""

    def teardown(self) -> None:
        for account in ACCOUNTS:
            self.expire(account)
            for store in (self.memory, self.redis):
                store.tidy(account)
                found = inspector_of(store).inspect(account)
                assert found.flaws == (), (account, store, found)


class Broken(SideBySide):
    """The same machine; when it ends, one thing is broken of each store, and mended."""

    def teardown(self) -> None:
        for account in ACCOUNTS:
            self.expire(account)
        for store in (self.memory, self.redis):
            store.tidy("acme")
            place = Place(store.database, "acme", random.Random(self.ids))
            before = [job for job in place.jobs() if job.is_open]
            ways = place.chance.sample(BREAKS, k=len(BREAKS))
            broken = next((way for way in ways if way(place)), None)
            found = inspector_of(store).inspect("acme", repair=True)
            assert found.mended, (broken, found)
            again = inspector_of(store).inspect("acme")
            assert again.flaws == (), (broken, found.flaws, again.flaws)
            drain(store, self.clock)
            states = {job.short: store.get_job(f"acme-{job.short}") for job in before}
            assert all(job and job.state in ENDS for job in states.values()), (broken, found.flaws, states)
            last = inspector_of(store).inspect("acme")
            assert last.flaws == (), (broken, found.flaws, last.flaws)


def drain(store: Store, clock: FakeClock) -> None:
    """Work everything that is left, as flushes do."""
    for turn in range(20):
        clock.sleep(60.0)
        lease = store.lease("acme", f"drain-{turn}")
        assert lease is not None
        work = lease.read(max_jobs=1000, max_relations=5000)
        writes = Writes()
        for relation, intents in intents_by_relation(work.jobs, work.records).items():
            settle_all(relation, intents, "applied", writes)
        assert lease.claim(work.jobs, work.begun, writes)
        lease.release()
        counts = store.counts("acme")
        if not (counts["backlog"] or counts["open"]):
            return
    raise AssertionError(f"something is left: {store.counts('acme')}")


def run_machine(kind: type[SideBySide], client: Redis, share: float) -> None:
    machine = type("Machine", (kind,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(1, round(settings().max_examples * share)),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.reuse, Phase.generate),
        ),
    )


def test_whatever_happens_nothing_that_is_stored_contradicts_itself(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        run_machine(Lawful, client, 0.4)


def test_what_is_broken_is_mended_and_no_change_is_lost(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        run_machine(Broken, client, 0.8)
