"""An account that only observes records once what it would send, and leaves all where it is."""

from collections.abc import Callable

from tests.support.flow_world import World, change
from worker.contract import Relation
from worker.ports.requests import RequestRecord
from worker.store.queries import RedisQueries

BUYER, BROKER = "estate:address:buyer", "estate:address:contactPerson"
Make = Callable[..., World]


def recorded(world: World) -> list[RequestRecord]:
    """Return every request of acme that is kept, oldest first."""
    return list(reversed(RedisQueries(world.store.database).list_requests("acme", limit=100).entries))


def pairs(records: list[RequestRecord]) -> set[tuple[str, Relation]]:
    return {
        (action.kind, relation)
        for record in records
        for action in record.actions
        for relation in action.relations
    }


def test_what_would_be_sent_is_recorded_and_nothing_is_sent(make_world: Make) -> None:
    world = make_world(policy={"observe": True})
    world.accept(change("create", BUYER, 501, 9001, 9002, correlation="call-7"))
    assert world.flush().state == "observed"
    assert world.sent() == []
    (record,) = recorded(world)
    assert record.observed
    assert record.correlations == ("call-7",)
    assert pairs([record]) == {("create", Relation(BUYER, 501, 9001)), ("create", Relation(BUYER, 501, 9002))}
    job = world.job()
    assert (job.state, job.attempts, job.requests) == ("queued", 0, (record.id,))
    assert world.store.counts("acme").get("requests", 0) == 0


def test_the_same_plan_is_recorded_once_and_a_new_one_again(make_world: Make) -> None:
    world = make_world(policy={"observe": True})
    world.accept(change("create", BUYER, 501, 9001))
    for _ in range(3):
        world.flush()
        world.clock.advance(60.0)
    assert len(recorded(world)) == 1
    world.accept(change("create", BUYER, 501, 9002))
    world.flush()
    assert len(recorded(world)) == 2
    assert [event for event, _ in world.events].count("flush.observed") == 2


def test_a_swap_is_recorded_with_both_halves_in_their_order(make_world: Make) -> None:
    world = make_world(policy={"observe": True})
    world.accept(change("delete", BROKER, 501, 42), change("create", BROKER, 501, 43))
    world.flush()
    assert [action.kind for record in recorded(world) for action in record.actions] == ["create", "delete"]


def test_going_live_sends_what_is_still_wanted(make_world: Make) -> None:
    world = make_world(policy={"observe": True})
    world.accept(change("create", BUYER, 501, 9001, at=1), change("create", BUYER, 501, 9002, at=1))
    world.flush()
    world.accept(change("delete", BUYER, 501, 9001, at=2))
    world.flush()
    world.policy = {}
    world.drain()
    assert set(world.relations()) == {Relation(BUYER, 501, 9002)}
    assert [job.state for job in world.jobs()] == ["superseded", "succeeded", "succeeded"]
    assert not recorded(world)[-1].observed
