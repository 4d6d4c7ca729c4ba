"""What is rare and must not be lost: thousands of equal wishes, a store that blinks while a request is under way, two stops at once."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from ops.simulator import FaultPlan
from tests.support.flow_world import World, change
from worker.errors import StoreUnavailable
from worker.planner.actions import ActionResult, ErrorClass, Reply, Verdict
from worker.ports import Pause
from worker.store.redis_store import RedisStore

BUYER = "estate:address:buyer"
Make = Callable[..., World]


@pytest.mark.parametrize("at_once", [1000, 10_000], ids=["in several flushes", "in one"])
def test_thousands_of_equal_wishes_have_one_outcome_each(world: Make, at_once: int) -> None:
    here = world(faults=FaultPlan.script(["gateway_before"] * 4), lane={"max_batch": at_once})
    here.accept(*(change("create", BUYER, 501, 9001) for _ in range(4500)))
    here.drain()
    counts = here.store.counts("acme")
    assert (counts["accepted"], counts["backlog"], counts["open"]) == (4500, 0, 0)
    assert counts.get("succeeded", 0) + counts.get("superseded", 0) == 4500
    assert len(here.relations()) == 1


class Blinking:
    """A lease of a store that is away whenever outcomes are to be written, as often as it is told to."""

    def __init__(self, lease: Any, blinks: list[int]) -> None:
        self._lease, self._blinks = lease, blinks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lease, name)

    def settle(self, *told: Any) -> Any:
        if self._blinks[0]:
            self._blinks[0] -= 1
            raise StoreUnavailable("Redis cannot be used: connection refused")
        return self._lease.settle(*told)


def test_a_store_that_is_away_when_outcomes_fall_makes_no_change_look_deadly(
    redis_client: redis.Redis,
) -> None:
    blinks = [5]

    class Store(RedisStore):
        def lease(self, account: str, holder: str) -> Any:
            lease = super().lease(account, holder)
            return lease and Blinking(lease, blinks)

    here = World(lambda now: Store(redis_client, "t", now=now))
    [receipt] = here.accept(change("create", BUYER, 501, 9001))
    while blinks[0]:
        with pytest.raises(StoreUnavailable):
            here.flush()
        here.clock.sleep(3.0)
    here.drain()
    job = here.store.get_job(receipt.job)
    assert job is not None
    assert (job.state, job.refusal) == ("succeeded", None)


class Refusing:
    """An API that refuses credentials, and what happens while it does."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def send(self, actions: Any, **_: object) -> Reply:
        self._meanwhile()
        return Reply(
            (ActionResult(Verdict.REJECTED, 137, ErrorClass.CREDENTIALS, "hmac wrong"),) * len(actions), 200
        )


def test_who_stopped_an_account_by_hand_finds_it_stopped_whatever_its_credentials_do(world: Make) -> None:
    here = world(lane={"fingerprint": "old"})
    here.accept(change("create", BUYER, 501, 9001))
    good, here.apis["acme"] = (
        here.apis["acme"],
        Refusing(lambda: here.store.pause("acme", Pause("hand", "moving"))),
    )  # type: ignore[assignment]
    here.flush()
    here.apis["acme"], here.lane = good, {"fingerprint": "new"}
    assert here.store.due_accounts(["acme"], credentials={"acme": "new"}) == []
    assert here.flush().state == "paused"
    assert here.relations() == {}
    here.store.resume("acme")
    here.drain()
    assert len(here.relations()) == 1


def test_a_stop_by_hand_just_when_new_credentials_heal_another_stands(world: Make) -> None:
    here = world(lane={"fingerprint": "new"})
    here.accept(change("create", BUYER, 501, 9001))
    here.store.pause("acme", Pause("credentials", "137", fingerprint="old"))
    here.clock.sleep(1.0)
    resume = here.store.resume

    def late(account: str, **which: Any) -> bool:
        here.store.pause(account, Pause("hand", "moving"))
        return resume(account, **which)

    here.store.resume = late  # type: ignore[method-assign]
    assert here.flush().state == "paused"
    assert (stopped := here.store.get_pause("acme"))
    assert stopped.reason == "hand"
    assert "account.resumed" not in [event for event, _ in here.events]
    assert here.relations() == {}


def test_a_job_that_the_server_lost_keeps_nobody_busy(redis_client: redis.Redis) -> None:
    here = World(lambda now: RedisStore(redis_client, "t", now=now))
    [lost, kept] = here.accept(change("create", BUYER, 501, 9001), change("create", BUYER, 501, 9002))
    redis_client.delete(f"t:{{acme}}:job:{lost.job}")
    here.drain()
    job = here.store.get_job(kept.job)
    assert job is not None
    assert job.state == "succeeded"
    assert here.flush().next_in is None


def test_of_two_workers_with_different_credentials_the_one_whose_were_refused_leaves_the_account_to_the_other(
    world: Make,
) -> None:
    here, asked = world(), list[int]()
    good, bad = here.apis["acme"], Refusing(lambda: asked.append(1))
    for turn in range(20):
        here.accept(change("create", BUYER, 501, 9001 + turn))
        for here.apis["acme"], here.lane in ((bad, {"fingerprint": "old"}), (good, {"fingerprint": "new"})):  # type: ignore[assignment]
            here.flush()
        here.clock.sleep(1.0)
    assert (len(asked), len(here.relations())) == (1, 20)
    here.clock.sleep(600.0)
    here.accept(change("create", BUYER, 501, 9999))
    here.apis["acme"], here.lane = bad, {"fingerprint": "old"}  # type: ignore[assignment]
    here.flush()
    assert (len(asked), here.flush().state) == (2, "paused")  # alone again, it says what it lacks
    here.store.resume("acme")
    here.flush()
    assert len(asked) == 3  # whoever resumes it wants it tried
