"""Several requests on their way at once: what begins when, what fails together, what a thread shares."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulator import FaultPlan
from ops.simulator.faults import InjectedFault
from tests.support.flow_world import World, change, generous_policy
from tests.support.inline_sender import InlineSender
from tests.support.watched_sender import flush_noted, kinds
from worker.background import open_sender
from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Action, ActionResult, Operation, Reply, Request, Search, Verdict
from worker.planner.plan import Limits, plan
from worker.planner.suspicion import OperationGroup, Priority
from worker.ports.pace import Grant
from worker.ports.requests import Api
from worker.testing import MemoryStore
from worker.usecases.flush import flush
from worker.usecases.in_flight import Round, SentRequest

BUYER, BROKER, UNIT = "estate:address:buyer", "estate:address:contactPerson", "estate:estateUnit"
ONE_EACH = Limits(max_ids=1, max_actions=1)
GRANT = Grant(booked=True)

operations = st.lists(
    st.builds(
        Operation,
        st.sampled_from(("create", "delete", "get")),
        st.builds(Relation, st.sampled_from((BUYER, BROKER, UNIT)), st.integers(1, 3), st.integers(1, 4)),
    ),
    max_size=25,
    unique_by=lambda operation: operation.relation,
)


def sent_request(place: int, request: Request, group: OperationGroup) -> SentRequest:
    return SentRequest(place, str(place), request, "work", group, GRANT, 0, (), 0, False)


@given(operations, st.integers(1, 4), st.integers(1, 3), st.randoms(use_true_random=False))
def test_a_round_begins_every_request_once_all_that_it_conflicts_with_is_settled(
    wanted: list[Operation], limit: int, max_actions: int, rng: random.Random
) -> None:
    planned = plan(wanted, Limits(max_ids=2, max_actions=max_actions), generous_policy("acme").order)
    group = OperationGroup(Priority.OPEN, tuple(wanted))
    current = Round(group, limit=limit)
    current.add(planned, deletes=0)
    on_their_way, settled = list[SentRequest](), set[int]()
    while True:
        while following := current.next_request():
            place, request = following
            assert settled.issuperset(range(planned.after[place]))
            on_their_way.append(sent_request(place, request, group))
            current.sent(on_their_way[-1])
        assert len(on_their_way) <= limit
        assert current.is_flying == bool(on_their_way)
        if not on_their_way:
            break
        answered = current.answered(on_their_way.pop(rng.randrange(len(on_their_way))).id)
        current.settled(answered)
        settled.add(answered.place)
    assert settled == set(range(len(planned.requests)))


def test_a_round_that_ended_begins_no_more_and_rests_as_long_as_the_longest_reason_says() -> None:
    wanted = [Operation("create", Relation(BUYER, number, number)) for number in (1, 2)]
    planned = plan(wanted, ONE_EACH, generous_policy("acme").order)
    current = Round(OperationGroup(Priority.OPEN, tuple(wanted)), limit=2)
    current.add(planned, deletes=0)
    current.end()
    assert (current.next_request(), current.rest) == (None, None)
    for rest, longest in ((0.0, 0.0), (5.0, 5.0), (1.0, 5.0)):
        current.end(rest=rest)
        assert current.rest == longest


# --- a flush


@pytest.mark.parametrize(
    ("in_flight", "order"), [(1, "sasw" + "asw" + "aw"), (2, "ssasw" + "aw" + "aw"), (4, "sss" + "aw" * 3)]
)
def test_as_many_as_allowed_are_on_their_way_and_the_next_leaves_before_the_answered_one_is_written(
    in_flight: int, order: str
) -> None:
    world = World(MemoryStore, policy={"limits": ONE_EACH, "in_flight": in_flight})
    world.accept(*(change("create", BUYER, 500 + child, child) for child in (1, 2, 3)))
    assert kinds(flush_noted(world)) == order


def test_the_old_broker_leaves_only_when_the_new_one_is_written() -> None:
    world = World(MemoryStore, policy={"limits": ONE_EACH, "in_flight": 4})
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    world.accept(change("create", BROKER, 501, 43), change("delete", BROKER, 501, 42))
    notes = flush_noted(world)
    assert notes.index(("written", None)) < notes.index(("sent", [("delete", (42,))]))
    assert list(world.relations()) == [Relation(BROKER, 501, 43)]


def test_requests_that_fail_together_count_as_one_failure_and_then_one_goes_alone() -> None:
    world = World(
        MemoryStore,
        faults=FaultPlan.script(["gateway_before"] * 4),
        policy={"limits": ONE_EACH, "in_flight": 4},
    )
    world.accept(*(change("create", BUYER, 500 + child, child) for child in range(1, 9)))
    assert kinds(flush_noted(world)) == "ssss" + "aw" * 4
    assert world.limiter.states(["acme"])["acme"]["failures"] == 1
    world.clock.advance(2.0)
    assert kinds(flush_noted(world)).startswith("saw")
    world.drain()
    assert len(world.relations()) == 8


@pytest.mark.parametrize(("rests", "waits"), [((30.0, 30.0), 30), ((5.0, 30.0), 30), ((30.0, 5.0), 30)])
def test_of_several_answers_that_say_when_to_come_back_the_longest_counts(
    rests: tuple[float, float], waits: int
) -> None:
    throttled = [InjectedFault("throttle", seconds=rest) for rest in rests]
    world = World(
        MemoryStore, faults=FaultPlan.script(throttled), policy={"limits": ONE_EACH, "in_flight": 2}
    )
    world.accept(*(change("create", BUYER, 500 + child, child) for child in (1, 2, 3)))
    assert kinds(flush_noted(world)) == "ss" + "aw" * 2
    begun = world.clock.now()
    world.drain()
    third = world.simulator.log[2].at - begun / SECOND
    assert waits - 1 <= third <= waits + 1


def test_a_flush_that_may_send_only_in_a_moment_ends_and_comes_back() -> None:
    world = World(MemoryStore, faults=FaultPlan.script([InjectedFault("throttle", seconds=0.1)]))
    world.accept(change("create", BUYER, 501, 9001))
    world.flush()
    world.clock.advance(0.05)
    assert world.flush().requests == 0
    world.drain()
    assert len(world.relations()) == 1


def test_an_account_whose_clock_was_wrong_for_several_requests_at_once_is_not_paused(
    make_world: Callable[..., World],
) -> None:
    world = make_world(policy={"limits": ONE_EACH, "in_flight": 3})
    world.simulator.clock = lambda: world.clock.now() / 1e6 + 600
    world.accept(*(change("create", BUYER, 500 + child, child) for child in (1, 2, 3)))
    flush_noted(world)
    assert world.store.get_pause("acme") is None
    world.drain()
    assert len(world.relations()) == 3


# --- threads


class MeetingApi:
    """An API that answers when so many requests are there at the same time."""

    def __init__(self, parties: int) -> None:
        self._barrier = threading.Barrier(parties)

    def send(self, actions: Sequence[Action | Search], *, request_id: str, now: float) -> Reply:
        self._barrier.wait(timeout=10)
        return Reply((ActionResult(Verdict.OK, message=f"{request_id} {now:g}"),))


def test_requests_travel_at_the_same_time_and_every_reply_comes_with_its_request() -> None:
    with open_sender(MeetingApi(3), 3) as sender:
        for number in range(3):
            sender.start((), request_id=f"r{number}", now=float(number))
        replies = dict(sender.next() for _ in range(3))
    assert {id_: reply.results[0].message for id_, reply in replies.items()} == {
        f"r{number}": f"r{number} {number}" for number in range(3)
    }


def test_what_a_request_raises_is_raised_where_its_reply_is_asked_for() -> None:
    class Broken:
        def send(self, *_: object, **__: object) -> Reply:
            raise RuntimeError("this client belongs to another process")

    with open_sender(Broken(), 1) as sender:
        sender.start((), request_id="r", now=0.0)
        with pytest.raises(RuntimeError, match="another process"):
            sender.next()


def test_a_request_that_is_alone_is_sent_by_the_thread_that_waits_for_it_and_not_before() -> None:
    threads: list[int] = []

    class Noted:
        def send(self, *_: object, request_id: str, **__: object) -> Reply:
            threads.append(threading.get_ident())
            return Reply((ActionResult(Verdict.OK, message=request_id),))

    with open_sender(Noted(), 1) as sender:
        sender.start((), request_id="r", now=0.0, is_alone=True)
        assert sender.next(timeout=0.0) is None
        assert not threads
        answered = sender.next()
    assert answered
    assert (answered[0], answered[1].results[0].message) == ("r", "r")
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("count", [1, 3])
def test_only_the_last_request_of_a_round_is_alone_and_only_when_all_others_are_written(count: int) -> None:
    alone: list[bool] = []

    class Asked(InlineSender):
        def start(self, *args: Any, is_alone: bool = False, **options: Any) -> None:
            alone.append(is_alone)
            super().start(*args, **options)

    @contextmanager
    def open_asked(api: Api, _: int) -> Iterator[Asked]:
        yield Asked(api)

    world = World(MemoryStore, policy={"limits": ONE_EACH, "in_flight": 1})
    world.accept(*(change("create", BUYER, 500 + child, child) for child in range(1, count + 1)))
    flush(world.policy_of("acme"), world.flush_deps("acme", open_sender=open_asked))
    assert alone == ([True] if count == 1 else [False] * count)  # the next leaves before the last is written
    assert len(world.relations()) == count
