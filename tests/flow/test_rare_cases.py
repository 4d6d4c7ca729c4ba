"""Rare cases: thousands of equal intents, a store that is away at a bad time, two pauses at once."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from ops.simulator import FaultPlan
from tests.support.crashes import BrokenConnection
from tests.support.flow_world import World, change
from worker.errors import StoreUnavailable, Unavailable
from worker.planner.actions import ActionResult, ErrorClass, Reply, Verdict
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports.pace import Pause
from worker.store.database import Commit, new_commit_id
from worker.store.keys import bucket_of, short_id
from worker.store.redis_store import RedisStore

BUYER = "estate:address:buyer"
Make = Callable[..., World]


@pytest.mark.parametrize("at_once", [1000, 10_000], ids=["in several flushes", "in one"])
def test_thousands_of_equal_intents_have_one_outcome_each(make_world: Make, at_once: int) -> None:
    world = make_world(faults=FaultPlan.script(["gateway_before"] * 4), policy={"max_batch": at_once})
    world.accept(*(change("create", BUYER, 501, 9001) for _ in range(2500)))
    world.drain()
    counts = world.store.counts("acme")
    assert (counts["accepted"], counts["backlog"], counts["open"]) == (2500, 0, 0)
    assert counts.get("succeeded", 0) + counts.get("superseded", 0) == 2500
    assert len(world.relations()) == 1


@pytest.mark.parametrize("action", ["create", "delete"])
def test_what_is_given_up_with_a_dead_workers_request_has_no_part_in_the_next_change(
    make_world: Make, action: str
) -> None:
    """The change that came next was folded with what had just failed, which so had two outcomes."""
    world = make_world(policy={"retry": RetryPolicy(give_up_after=60.0)})
    world.accept(change("create", BUYER, 501, 9001))
    api, world.apis["acme"] = world.apis["acme"], BrokenConnection()
    with pytest.raises(Unavailable):
        world.flush()
    world.apis["acme"] = api
    world.clock.advance(61.0)
    world.accept(change(action, BUYER, 501, 9001))
    world.drain()
    first, second = world.jobs()
    assert (first.state, first.refusal and first.refusal[1]) == ("failed", "unknown")
    assert [+Counter(job.counts) for job in (first, second)] == [{"failed": 1}, {"applied": 1}]
    assert len(world.relations()) == (action == "create")


class FailingLease:
    """A lease of a store that is away for the next few times that outcomes are to be written."""

    def __init__(self, lease: Any, failures: list[int]) -> None:
        self._lease, self._failures = lease, failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lease, name)

    def settle(self, *args: Any) -> Any:
        if self._failures[0]:
            self._failures[0] -= 1
            raise StoreUnavailable("Redis cannot be used: connection refused")
        return self._lease.settle(*args)


def test_a_store_that_is_away_when_outcomes_are_written_makes_no_change_look_deadly(
    redis_client: redis.Redis,
) -> None:
    failures = [5]

    class Store(RedisStore):
        def lease(self, account: str, holder: str) -> Any:
            lease = super().lease(account, holder)
            return lease and FailingLease(lease, failures)

    world = World(lambda now: Store(redis_client, "t", now=now))
    world.accept(change("create", BUYER, 501, 9001))
    while failures[0]:
        with pytest.raises(StoreUnavailable):
            world.flush()
        world.clock.advance(3.0)
    world.drain()
    assert (world.job().state, world.job().refusal) == ("succeeded", None)


class Refusing:
    """An API that rejects the credentials, and what happens meanwhile."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def send(self, actions: Any, **_: object) -> Reply:
        self._meanwhile()
        return Reply(
            (ActionResult(Verdict.REJECTED, 137, ErrorClass.CREDENTIALS, "hmac wrong"),) * len(actions), 200
        )


def test_an_operator_s_pause_stays_whatever_the_credentials_do(make_world: Make) -> None:
    world = make_world(policy={"fingerprint": "old"})
    world.accept(change("create", BUYER, 501, 9001))
    good, world.apis["acme"] = (
        world.apis["acme"],
        Refusing(lambda: world.store.pause("acme", Pause("hand", "moving"))),
    )
    world.flush()
    world.apis["acme"], world.policy = good, {"fingerprint": "new"}
    assert world.store.due_accounts(["acme"], credentials={"acme": "new"}) == []
    assert world.flush().state == "paused"
    assert world.relations() == {}
    world.store.resume("acme")
    world.drain()
    assert len(world.relations()) == 1


def test_an_operator_s_pause_stays_that_comes_just_when_new_credentials_end_another(make_world: Make) -> None:
    world = make_world(policy={"fingerprint": "new"})
    world.accept(change("create", BUYER, 501, 9001))
    world.store.pause("acme", Pause("credentials", "137", fingerprint="old"))
    world.clock.advance(1.0)
    resume = world.store.resume

    def late(account: str, **which: Any) -> bool:
        world.store.pause(account, Pause("hand", "moving"))
        return resume(account, **which)

    world.store.resume = late
    assert world.flush().state == "paused"
    assert (stopped := world.store.get_pause("acme"))
    assert stopped.reason == "hand"
    assert "account.resumed" not in [event for event, _ in world.events]
    assert world.relations() == {}


def test_a_job_that_the_server_lost_keeps_no_flush_busy(redis_client: redis.Redis) -> None:
    world = World(lambda now: RedisStore(redis_client, "t", now=now))
    [lost, _] = world.accept(change("create", BUYER, 501, 9001), change("create", BUYER, 501, 9002))
    redis_client.hdel(f"t:{{acme}}:jobs:{bucket_of(short_id(lost.job))}", short_id(lost.job))
    world.drain()
    assert world.job(1).state == "succeeded"
    assert world.flush().next_in is None


def test_a_worker_with_rejected_credentials_leaves_the_account_to_one_with_good_ones(
    make_world: Make,
) -> None:
    world, sent = make_world(), list[int]()
    good, bad = world.apis["acme"], Refusing(lambda: sent.append(1))
    for turn in range(20):
        world.accept(change("create", BUYER, 501, 9001 + turn))
        for world.apis["acme"], world.policy in (
            (bad, {"fingerprint": "old"}),
            (good, {"fingerprint": "new"}),
        ):
            world.flush()
        world.clock.advance(1.0)
    assert (len(sent), len(world.relations())) == (1, 20)
    world.clock.advance(600.0)
    world.accept(change("create", BUYER, 501, 9999))
    world.apis["acme"], world.policy = bad, {"fingerprint": "old"}
    world.flush()
    assert (len(sent), world.flush().state) == (2, "paused")  # alone again, it pauses the account
    world.store.resume("acme")
    world.flush()
    assert len(sent) == 3  # a resumed account is tried again


def test_a_flush_whose_store_lost_what_it_acknowledged_sends_no_more_and_says_so_once(
    redis_client: redis.Redis,
) -> None:
    one_action = {"limits": Limits(max_ids=100, max_actions=1)}
    world = World(lambda now: RedisStore(redis_client, "test", now=now), policy=one_action)
    world.accept(change("create", BUYER, 501, 9001), change("create", BUYER, 502, 9002))
    api = world.apis["acme"]

    class FailingOver:
        """An API while whose answer comes a replica takes over that never got the last write."""

        def send(self, *args: Any, **how: Any) -> Reply:
            world.apis["acme"] = api
            reply = api.send(*args, **how)
            redis_client.delete("test:{acme}:journal")
            redis_client.hincrby("test:{acme}:holder", "step", -1)
            return reply

    world.apis["acme"] = FailingOver()
    assert world.flush().state == "lost"
    assert (len(world.sent()), [event for event, _ in world.events].count("writes.lost")) == (1, 1)
    world.drain()
    assert {job.state for job in world.jobs()} == {"succeeded"}


def test_an_open_relation_whose_change_is_confirmed_already_closes_and_keeps_nobody_busy(
    make_world: Make,
) -> None:
    world = make_world(faults=FaultPlan.script(["gateway_before"]))
    world.accept(change("create", BUYER, 501, 9001))
    world.flush()
    redis, key = world.store.database.redis, world.store.database.key
    name, opened = next(iter(redis.hgetall(key("acme", "open")).items()))
    world.drain()
    commit = Commit(world.store.database, "acme")  # as a server that lost the last write has it
    commit.run("HSET", "open", name, opened)
    commit.run("ZADD", "due", world.clock.now(), name)
    commit.send(new_commit_id())
    sent = len(world.sent())
    assert [world.flush().next_in for _ in range(2)] == [None, None]
    assert world.open_accounts() == {}
    assert len(world.sent()) == sent
    assert (world.job().state, world.job().counts["applied"]) == ("succeeded", 1)
