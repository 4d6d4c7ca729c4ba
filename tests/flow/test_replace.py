"""A replace: one record has exactly those that it names; what else is there goes once they are there."""

from collections.abc import Callable, Collection
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulator import OF_RELATIONS, FaultPlan, InjectedFault, Records, Switches
from tests.support.broken_stores import Place, inspector_of, lose_event
from tests.support.crashes import crash_everywhere
from tests.support.erasing import erase_record, erasure_of
from tests.support.flow_world import World, change, writes
from worker.contract import Change, Reference
from worker.testing import MemoryStore

BUYER, BROKER = "estate:address:buyer", "estate:address:contactPerson"


def replace(parent: int, *children: int, name: str = BUYER, **more: Any) -> Change:
    """Return a change after which the parent has exactly these children."""
    return msgspec.structs.replace(change("replace", name, parent, *children, **more), replaces="child")


def with_parents(child: int, *parents: int) -> Change:
    """Return a change after which the child has exactly these parents."""
    return msgspec.structs.replace(replace(1, child), parents=parents, replaces="parent")


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    made = make_world()
    seed(made, {(501, 1), (501, 2), (502, 1)})
    return made


def seed(world: World, pairs: Collection[tuple[int, int]], name: str = BUYER) -> None:
    world.simulator.seed("token-acme", [(name, parent, child) for parent, child in pairs])


def test_the_record_has_exactly_what_it_names_and_only_differences_are_sent(world: World) -> None:
    world.accept(replace(501, 2, 3, 4))
    world.drain()
    assert world.linked() == {(501, 2), (501, 3), (501, 4), (502, 1)}
    assert writes(world) == ["create", "delete"]
    done = world.job()
    assert (done.state, done.action, done.total, done.counts["applied"]) == ("succeeded", "replace", 4, 4)
    assert set(done.children) == {1, 2, 3, 4}
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_what_is_right_already_costs_reads_only(world: World) -> None:
    world.accept(replace(501, 1, 2))
    world.drain()
    assert writes(world) == []
    assert (world.job().state, world.job().total) == ("succeeded", 2)


def test_the_mirror_gives_a_child_exactly_these_parents(world: World) -> None:
    world.accept(with_parents(1, 502, 503))
    world.drain()
    assert world.linked() == {(501, 2), (502, 1), (503, 1)}


@pytest.mark.parametrize(
    ("wanted", "erased", "removed"),
    [
        (replace(501, 3, 4), ("address", 3), {(501, 1), (501, 2)}),
        (replace(501, 3, 4), ("address", 2), {(501, 1)}),
        (with_parents(1, 503, 504), ("estate", 503), {(501, 1), (502, 1)}),
        (with_parents(1, 503, 504), ("estate", 502), {(501, 1)}),
    ],
)
def test_what_it_removed_is_told_from_what_it_named_also_without_an_erased_record(
    world: World, wanted: Change, erased: tuple[str, int], removed: set[tuple[int, int]]
) -> None:
    world.accept(wanted)
    world.drain()
    assert erase_record(erasure_of(world), "acme", *erased, by="ada")["jobs"] == 1
    assert {(each.parent, each.child) for each in world.job().removals} == removed


@pytest.mark.parametrize(
    ("wanted", "linked"), [(replace(501, 5), {(501, 5)}), (with_parents(9, 502), {(502, 9)})]
)
def test_what_a_create_without_an_answer_may_still_add_goes_too(
    make_world: Callable[..., World], wanted: Change, linked: set[tuple[int, int]]
) -> None:
    world = make_world(faults=FaultPlan.script([InjectedFault("late", 100.0)]))
    world.accept(change("create", BUYER, 501, 9))
    world.flush()
    world.accept(wanted)
    world.drain()
    world.clock.advance(200.0)
    assert world.linked() == linked
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_a_record_is_emptied_only_where_that_is_said(world: World) -> None:
    world.accept(msgspec.structs.replace(replace(501, 1), children=(), allow_empty=True))
    world.drain()
    assert world.linked() == {(502, 1)}
    assert (world.job().state, world.job().counts["applied"]) == ("succeeded", 2)
    world.accept(msgspec.structs.replace(replace(501, 1), children=(), allow_empty=True))
    world.drain()
    assert (world.job(1).state, world.job(1).total) == ("succeeded", 0)


def test_nothing_goes_when_one_that_is_named_cannot_come(make_world: Callable[..., World]) -> None:
    world = make_world(records=Records(missing=frozenset({("address", 9)})))
    seed(world, {(501, 1)})
    world.accept(replace(501, 9, 3))
    world.drain()
    assert world.linked() == {(501, 1), (501, 3)}
    assert (world.job().state, world.job().counts["failed"]) == ("failed", 1)
    world.simulator.seed("token-acme", records=Records())
    world.store.requeue("acme", [world.job().id])
    world.drain()
    assert world.linked() == {(501, 9), (501, 3)}
    assert world.job().state == "succeeded"


def test_later_single_changes_win_and_earlier_ones_do_not(world: World) -> None:
    world.accept(
        change("create", BUYER, 501, 7, at=-20.0),
        replace(501, 3, at=-30.0),
        change("create", BUYER, 501, 8, at=-40.0),
        change("delete", BUYER, 501, 3, at=-20.0),
    )
    world.drain()
    assert world.linked() == {(501, 7), (502, 1)}
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_of_two_replaces_the_later_one_wins(world: World) -> None:
    world.accept(replace(501, 4, 5, at=-20.0), replace(501, 5, 6, at=-30.0))
    world.drain()
    assert world.linked() == {(501, 4), (501, 5), (502, 1)}


def test_the_only_broker_is_replaced_and_never_missing(make_world: Callable[..., World]) -> None:
    world = make_world()
    seed(world, {(501, 1)}, BROKER)
    world.accept(replace(501, 2, name=BROKER))
    world.drain()
    assert world.linked() == {(501, 2)}
    assert world.simulator.violations("token-acme") == ()


def test_references_are_looked_up_first(world: World) -> None:
    world.simulator.seed("token-acme", {}, fields={"address": {7: {"email": "a@example.test"}}})
    wanted = replace(501, 2)
    world.accept(
        msgspec.structs.replace(
            wanted, child_references=(Reference("address", (("email", "a@example.test"),)),)
        )
    )
    world.drain()
    assert world.linked() == {(501, 2), (501, 7), (502, 1)}


@pytest.mark.parametrize("fault", ["lost_after", "lost_before", "gateway_after", "server_error", "throttle"])
def test_a_lost_answer_changes_no_end(world: World, fault: Any) -> None:
    for place in range(4):
        world.simulator.inject(FaultPlan.script([*[None] * place, fault]))
        world.accept(replace(501, 10 + place, 2))
        world.drain()
        assert world.linked() == {(501, 10 + place), (501, 2), (502, 1)}


@pytest.mark.parametrize("switches", list(Switches.all(OF_RELATIONS)), ids=str)
def test_whatever_the_documentation_leaves_open(switches: Switches) -> None:
    world = World(MemoryStore, switches=switches)
    seed(world, {(501, 1), (501, 2)})
    world.accept(replace(501, 2, 3), replace(502, 9))
    world.drain()
    assert world.linked() == {(501, 2), (501, 3), (502, 9)}


def test_a_crash_at_any_step_changes_no_end() -> None:
    def make() -> World:
        world = World(MemoryStore)
        seed(world, {(501, 1), (501, 2)})
        return world

    def run(world: World) -> None:
        world.accept(replace(501, 2, 3, at=-9.0), change("create", BUYER, 501, 5, at=-8.0))
        world.drain()

    for at, world in crash_everywhere(make, run):
        assert world.linked() == {(501, 2), (501, 3), (501, 5)}, at
        assert (world.job().state, world.job().counts["failed"]) == ("succeeded", 0), at
        assert inspector_of(world.store).inspect("acme").flaws == ()


@pytest.mark.parametrize("side", ["child", "parent"])
def test_an_event_id_that_the_store_has_lost_is_known_again_after_a_repair(
    make_world: Callable[..., World], side: Any
) -> None:
    world = make_world()
    seed(world, {(501, 1), (502, 1)})
    wanted = msgspec.structs.replace(replace(501, 1, event_id="e1"), replaces=side)
    world.accept(wanted, msgspec.structs.replace(replace(503, event_id="e2"), allow_empty=True))
    world.drain()
    place = Place(world.store.database, "acme", Random(1))
    while inspector_of(world.store).inspect("acme").flaws == ():
        lose_event(place)
    inspector_of(world.store).inspect("acme", repair=True)
    assert all(receipt.duplicate for receipt in world.accept(wanted))


CHILDREN = (1, 2, 3, 4)


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """Up to six changes of one record at different times, in any order of arrival."""
    times = draw(st.lists(st.integers(1, 60), min_size=1, max_size=6, unique=True))
    made = []
    for number, ago in enumerate(times):
        children = draw(st.lists(st.sampled_from(CHILDREN), min_size=1, max_size=3, unique=True))
        action = draw(st.sampled_from(("create", "delete", "replace", "replace")))
        event = {"at": float(-ago), "event_id": f"e{number}"}
        if action == "replace":
            made.append(replace(501, *children, **event))
        else:
            made.append(change(action, BUYER, 501, *children, **event))
    return made


def expected_children(changes: Collection[Change], before: Collection[int]) -> set[int]:
    """Return the children in the end: every change in the order of what happened."""
    children = set(before)
    for each in sorted(changes, key=lambda each: each.occurred_at or 0):
        if each.action == "replace":
            children = set(each.children)
        else:
            children = children | {*each.children} if each.action == "create" else children - {*each.children}
    return children


@given(
    submitted=histories(),
    between=st.lists(st.booleans(), min_size=6, max_size=6),
    before=st.sets(st.sampled_from(CHILDREN)),
    rate=st.sampled_from([0.0, 0.0, 0.1]),
    seed_=st.integers(0, 1000),
)
def test_in_any_order_of_arrival_the_end_is_that_of_the_order_of_what_happened(
    submitted: list[Change], between: list[bool], before: set[int], rate: float, seed_: int
) -> None:
    kinds = ("lost_after", "lost_before", "gateway_after", "server_error", "throttle")
    world = World(MemoryStore, faults=FaultPlan.random(seed_, rate, kinds))
    seed(world, {(501, child) for child in before})
    for wanted, flush in zip(submitted, between, strict=False):
        world.accept(wanted)
        if flush:
            world.flush()
    world.drain()
    assert world.linked() == {(501, child) for child in expected_children(submitted, before)}
    ended = [world.job(number) for number in range(len(submitted))]
    assert all(each.state in ("succeeded", "superseded") for each in ended)
    assert all(sum(each.counts.values()) == each.total for each in ended)
    assert inspector_of(world.store).inspect("acme").flaws == ()
