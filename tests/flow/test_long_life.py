"""Whatever was done, nothing is kept for ever but the registry of accounts and the counters."""

import random
from collections.abc import Callable

import pytest
import redis

from ops.simulator import FaultPlan, Records
from tests.support.flow_world import INFO, World, change
from tests.support.waiting import wait_until
from worker.config import Settings
from worker.contract import Change
from worker.ports.pace import Pause
from worker.ports.store import Retention, UnreadableMessage
from worker.store.limits import MAX_EXAMINED
from worker.store.redis_store import RedisStore
from worker.usecases.replay import requeue
from worker.usecases.sweep import RESTED_SWEEPS
from worker.wiring import Runtime

ACCOUNTS = ("acme", "bart")
KEEP = Retention(
    finished=1.0, failed=2.0, remembered=1.0
)  # seconds of the server's own clock, which no test can move
TYPES = ("estate:address:contactPerson", "estate:address:buyer", "calendar:address", "estate:estateUnit")
KEPT = ("counts", "numbers", "meta", "lease")


def random_change(rng: random.Random, number: int) -> Change:
    """Any change, some about a record that is not there."""
    name = rng.choice(TYPES)
    action = rng.choice(("create", "create", "delete", *(("modify",) if name == "calendar:address" else ())))
    info = ((INFO, rng.choice(("gesendet", "bestätigt"))),) if action == "modify" else ()
    children = rng.sample(range(900, 910), rng.choice((1, 1, 3)))
    more = {
        "batch": rng.choice(("", "monday", "tuesday")),
        "event_id": f"event-{number}",
        "account": rng.choice(ACCOUNTS),
    }
    return change(action, name, rng.randrange(501, 504), *children, info=info, **more)


def work(world: World, rng: random.Random, count: int, look: Callable[[], object]) -> None:
    """Work changes in bursts, with faults, pauses, and a replay of what failed, until all is done.

    After some flushes somebody looks.
    """
    for number in range(count):
        world.accept(random_change(rng, number))
        if rng.random() < 0.1:
            world.flush(rng.choice(ACCOUNTS))
            look()
            world.clock.advance(rng.random() * 8)
        if rng.random() < 0.02:
            world.store.pause(rng.choice(ACCOUNTS), Pause("clock", until=world.clock.now() + 5_000_000))
    world.drain()
    for account in ACCOUNTS:
        requeue(world.intake, account, world.store.failed_jobs(account, limit=50))
    world.drain()


def names(client: redis.Redis) -> set[str]:
    return {key.decode() for key in client.keys("*")}


@pytest.mark.parametrize("seed", [1, 2])
def test_when_all_has_expired_only_the_registry_and_the_counters_are_left(
    redis_client: redis.Redis, seed: int
) -> None:
    world = World(
        lambda now: RedisStore(redis_client, "test", now=now, keep=lambda _: KEEP),
        accounts=ACCOUNTS,
        faults=FaultPlan.random(seed, 0.2),
        records=Records(missing=frozenset({("address", 903)})),
    )
    seen = set[str]()
    work(world, random.Random(seed), 150, lambda: seen.update(names(redis_client)))
    assert any(name.startswith("test:{acme}:request:") for name in seen)
    for_ever = {
        "test:accounts",
        *(f"test:{{{name}}}:{key}" for name in ACCOUNTS for key in KEPT),
    }

    def is_tidy() -> bool:
        world.clock.advance(0.02)
        for account in ACCOUNTS:  # as the sweep does, whether or not there is ever work again
            world.store.tidy(account)
        return names(redis_client) == for_ever

    wait_until(is_tidy, lambda: names(redis_client) ^ for_ever)


def test_the_sweep_tidies_also_what_belongs_to_an_account_that_left_the_settings(
    redis_client: redis.Redis, redis_url: str
) -> None:
    store = RedisStore(redis_client, "test", keep=lambda _: KEEP)
    fault = UnreadableMessage("gone", "celery", "e", ("parentid: is required",), b"{}")
    store.reject("gone", "gone-000", fault)
    runtime = Runtime(Settings(redis_url=redis_url, prefix="test"), wake=lambda *_: None)
    for_ever = {
        "test:accounts",
        "test:sweep",
        *(f"test:{{gone}}:{key}" for key in KEPT if key != "numbers"),
    }

    def is_tidy() -> bool:
        runtime.sweep()
        return names(redis_client) == for_ever

    wait_until(is_tidy, lambda: names(redis_client) ^ for_ever)
    runtime.client.close()


def test_what_was_tidied_to_its_end_is_left_alone_for_a_minute(
    redis_client: redis.Redis, redis_url: str
) -> None:
    runtime = Runtime(Settings(redis_url=redis_url, prefix="test"), wake=lambda *_: None)
    for at in range(3 * MAX_EXAMINED):  # failed jobs, kept for a month
        fault = UnreadableMessage("gone", "celery", f"event-{at}", ("parentid: is required",), b"{}")
        runtime.store.reject("gone", f"gone-{at:09d}", fault)
    redis_client.config_resetstat()
    for _ in range(RESTED_SWEEPS):
        runtime.sweep()
    passes = redis_client.info("commandstats")["cmdstat_zrandmember"]["calls"]  # one per part
    assert 3 <= passes <= 5  # the last part may be full, or empty
    runtime.client.close()
