"""An account that only observes: it records what it would send, once, and everything stays where it is until it goes live."""

from collections.abc import Callable

from tests.support.flow_world import World, change
from worker.contract import Relation
from worker.ports import RequestRecord
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore
from worker.testing import MemoryQueries

BUYER, BROKER = "estate:address:buyer", "estate:address:contactPerson"
Make = Callable[..., World]


def recorded(here: World) -> list[RequestRecord]:
    """Every request of acme that is kept, oldest first."""
    store = here.store
    asked = (
        RedisQueries(store._client.redis, store._client.prefix) if isinstance(store, RedisStore) else MemoryQueries(store)
    )
    return list(reversed(asked.list_requests("acme", limit=100).requests))


def pairs(records: list[RequestRecord]) -> set[tuple[str, Relation]]:
    return {
        (action.kind, relation)
        for record in records
        for action in record.actions
        for relation in action.relations
    }


def test_what_would_be_sent_is_recorded_and_nothing_is_sent(world: Make) -> None:
    here = world(lane={"observe": True})
    (receipt,) = here.accept(change("create", BUYER, 501, 9001, 9002, correlation="call-7"))
    assert here.flush().state == "observed"
    assert here.sent() == []
    (record,) = recorded(here)
    assert record.observed
    assert record.correlations == ("call-7",)
    assert pairs([record]) == {("create", Relation(BUYER, 501, 9001)), ("create", Relation(BUYER, 501, 9002))}
    job = here.store.get_job(receipt.job)
    assert job is not None
    assert (job.state, job.attempts, job.requests) == ("queued", 0, (record.id,))
    assert here.store.counts("acme").get("requests", 0) == 0


def test_the_same_plan_is_recorded_once_and_a_new_one_again(world: Make) -> None:
    here = world(lane={"observe": True})
    here.accept(change("create", BUYER, 501, 9001))
    for _ in range(3):
        here.flush()
        here.clock.sleep(60.0)
    assert len(recorded(here)) == 1
    here.accept(change("create", BUYER, 501, 9002))
    here.flush()
    assert len(recorded(here)) == 2
    assert [event for event, _ in here.events].count("flush.observed") == 2


def test_a_swap_is_recorded_with_both_halves_in_their_order(world: Make) -> None:
    here = world(lane={"observe": True})
    here.accept(change("delete", BROKER, 501, 42), change("create", BROKER, 501, 43))
    here.flush()
    assert [action.kind for record in recorded(here) for action in record.actions] == ["create", "delete"]


def test_going_live_sends_what_is_still_wanted(world: Make) -> None:
    here = world(lane={"observe": True})
    receipts = here.accept(change("create", BUYER, 501, 9001, at=1), change("create", BUYER, 501, 9002, at=1))
    here.flush()
    receipts += here.accept(change("delete", BUYER, 501, 9001, at=2))
    here.flush()
    here.lane = {}
    here.drain()
    assert set(here.relations()) == {Relation(BUYER, 501, 9002)}
    states = [job.state for receipt in receipts if (job := here.store.get_job(receipt.job))]
    assert states == ["superseded", "succeeded", "succeeded"]
    assert not recorded(here)[-1].observed
