"""A replace of what a record has one of at most: what is there goes first, in the guard's order."""

from collections.abc import Callable, Collection
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulator import FaultPlan, Records
from producers.replay.resend import parse_correction
from tests.support.broken_stores import inspector_of
from tests.support.crashes import crash_everywhere
from tests.support.flow_world import START, World, change, writes
from tests.support.replaying import newest, replay, replays_of
from worker.contract import Change, Reference
from worker.errors import InvalidChange
from worker.testing import MemoryStore

UNIT = "estate:estateUnit"
BUILDINGS = (501, 502, 503)


def move(unit: int, *buildings: int, **more: Any) -> Change:
    """Return a change after which the unit is in exactly these buildings."""
    asked = Change(account="acme", action="replace", type=UNIT, parents=buildings, children=(unit,), **more)
    return msgspec.structs.replace(asked, replaces="parent", allow_empty=not buildings)


def in_building(world: World, *pairs: tuple[int, int]) -> World:
    world.simulator.seed("token-acme", [(UNIT, building, unit) for building, unit in pairs])
    return world


def test_a_unit_leaves_its_building_and_gets_the_new_one_at_once(make_world: Callable[..., World]) -> None:
    world = in_building(make_world(), (501, 7), (501, 8))
    world.accept(move(7, 502))
    world.drain()
    assert world.linked() == {(502, 7), (501, 8)}
    assert writes(world) == ["delete", "create"]
    done = world.job()
    assert (done.state, done.total, done.counts["applied"]) == ("succeeded", 2, 2)
    assert done.finished_at - done.accepted_at < 1_000_000  # it was not held
    assert world.simulator.violations("token-acme") == ()
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_a_unit_without_a_building_gets_one_and_one_that_is_right_costs_reads_only(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    world.accept(move(7, 502))
    world.drain()
    world.accept(move(7, 502))
    world.drain()
    assert world.linked() == {(502, 7)}
    assert writes(world) == ["create"]
    assert [(job.state, job.total) for job in world.jobs()] == [("succeeded", 1)] * 2


def test_two_buildings_for_one_unit_are_refused_at_once(make_world: Callable[..., World]) -> None:
    world = in_building(make_world(), (501, 7))
    with pytest.raises(InvalidChange) as refused:
        world.accept(move(8, 502), move(7, 502, 503))
    [fault] = refused.value.faults
    assert (fault.path, fault.place) == ("parentid", 1)
    assert "estate 7 can have one parent at most by estate:estateUnit, and would have 2" in fault.message
    assert world.store.counts("acme").get("accepted", 0) == 0


def test_an_address_may_have_several_estates_by_a_replace(make_world: Callable[..., World]) -> None:
    world = make_world()
    buyer = msgspec.structs.replace(move(9001, 501, 502), type="estate:address:buyer")
    world.accept(buyer)
    world.drain()
    assert world.job().state == "succeeded"


@pytest.mark.parametrize(
    ("wanted", "single"),
    [
        (msgspec.structs.replace(change("replace", UNIT, 502, 7), replaces="child"), "parentid"),
        (move(7, 502), "childid"),
    ],
)
def test_a_correction_never_turns_a_replace_around(
    make_world: Callable[..., World], wanted: Change, single: str
) -> None:
    world = in_building(make_world(records=Records(missing=frozenset({("estate", 502)}))), (501, 7))
    world.accept(wanted)
    world.drain()
    assert world.job().state == "failed"
    prepared = replays_of(world).prepare(
        "acme", [world.job().id], by="ada", correction={single: [601, 602], "action": "replace"}
    )
    assert prepared.eligible == 0
    assert prepared.refused == {"invalid": 1}
    assert f"{single}: expected one record: a replace says" in prepared.examples[world.job().id]


def test_a_building_is_left_for_none(make_world: Callable[..., World]) -> None:
    world = in_building(make_world(), (501, 7))
    world.accept(move(7))
    world.drain()
    assert (world.linked(), world.job().state) == (set(), "succeeded")


def test_the_new_building_may_be_named_by_a_reference(make_world: Callable[..., World]) -> None:
    world = in_building(make_world(), (501, 7))
    world.simulator.seed("token-acme", {}, fields={"estate": {502: {"objektnr_extern": "PC2"}}})
    named = Reference("estate", (("objektnr_extern", "PC2"),))
    world.accept(msgspec.structs.replace(move(7), parent_references=(named,), allow_empty=False))
    world.drain()
    assert (world.linked(), world.job().total) == ({(502, 7)}, 2)


@pytest.mark.parametrize("also", [{}, {503: {"objektnr_extern": "PC3"}}], ids=["an id", "two references"])
def test_two_buildings_by_references_fail_before_anything_is_sent(
    make_world: Callable[..., World], also: dict[int, dict[str, str]]
) -> None:
    world = in_building(make_world(), (501, 7))
    world.simulator.seed("token-acme", {}, fields={"estate": {502: {"objektnr_extern": "PC2"}, **also}})
    numbers = ("PC2", "PC3") if also else ("PC2",)
    named = tuple(Reference("estate", (("objektnr_extern", number),)) for number in numbers)
    move_it = move(7, *([] if also else [503]))
    world.accept(msgspec.structs.replace(move_it, parent_references=named, allow_empty=False))
    started = world.clock.now()
    world.drain()
    job = world.job()
    assert (job.state, job.refusal[:2], world.linked()) == ("failed", (0, "dependency"), {(501, 7)})
    assert "can have one parent at most by estate:estateUnit, and is to have 2" in job.refusal[2]
    assert (writes(world), world.clock.now() - started < 10_000_000) == ([], True)
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_of_two_buildings_the_right_one_is_named_by_a_correction(make_world: Callable[..., World]) -> None:
    world = in_building(make_world(), (501, 7))
    fields = {number: {"objektnr_extern": f"PC{number}"} for number in (502, 503)}
    world.simulator.seed("token-acme", {}, fields={"estate": fields})
    named = tuple(Reference("estate", (("objektnr_extern", f"PC{number}"),)) for number in fields)
    world.accept(msgspec.structs.replace(move(7), parent_references=named, allow_empty=False))
    world.drain()
    assert world.job().state == "failed"
    assert replay(world, [world.job().id], correction=parse_correction(["parentid=503"])).back == 1
    world.drain()
    assert (world.linked(), newest(world).state) == ({(503, 7)}, "succeeded")


def test_two_references_to_one_building_name_one(make_world: Callable[..., World]) -> None:
    world = in_building(make_world(), (501, 7))
    fields = {"objektnr_extern": "PC2", "uuid": "a3a9741f-442c-42aa-a013-49d32f7f52e0"}
    world.simulator.seed("token-acme", {}, fields={"estate": {502: fields}})
    named = tuple(Reference("estate", (pair,)) for pair in fields.items())
    world.accept(msgspec.structs.replace(move(7, 502), parent_references=named))
    world.drain()
    assert (world.linked(), world.job().state) == ({(502, 7)}, "succeeded")


def test_the_side_of_the_building_takes_units_out_of_no_other_building(
    make_world: Callable[..., World],
) -> None:
    world = in_building(make_world(), (501, 7), (502, 8))
    world.accept(msgspec.structs.replace(change("replace", UNIT, 502, 7), replaces="child"))
    world.drain()
    assert world.linked() == {(501, 7), (502, 8)}
    assert world.job().failures[0].error == "dependency"


def test_a_building_that_is_not_there_fails_and_the_unit_gets_it_by_a_replay(
    make_world: Callable[..., World],
) -> None:
    world = in_building(make_world(records=Records(missing=frozenset({("estate", 502)}))), (501, 7))
    world.accept(move(7, 502))
    world.drain()
    assert world.linked() == set()
    assert (world.job().state, world.job().counts["applied"], len(world.job().failed)) == ("failed", 1, 1)
    world.simulator.seed("token-acme", records=Records())
    world.store.requeue("acme", [world.job().id])
    world.drain()
    assert (world.linked(), world.job().state) == ({(502, 7)}, "succeeded")


@pytest.mark.parametrize("forced", [False, True])
def test_a_unit_that_cannot_leave_stays_and_can_be_replayed_as_a_whole(
    make_world: Callable[..., World], forced: bool
) -> None:
    world = in_building(make_world(records=Records(no_write=frozenset({("estate", 501)}))), (501, 7))
    world.accept(move(7, 502))
    world.drain()
    assert world.linked() == {(501, 7)}
    assert {failure.error for failure in world.job().failures} == {"rights", "dependency"}
    world.simulator.seed("token-acme", records=Records())
    assert replay(world, [world.job().id], forced=forced).back == 1
    world.drain()
    last = newest(world)
    assert (world.linked(), last.action, last.state) == ({(502, 7)}, "replace", "succeeded")
    assert (last.id == world.job().id) is not forced
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_a_crash_at_any_step_changes_no_end() -> None:
    def make() -> World:
        return in_building(World(MemoryStore), (501, 7), (501, 8))

    def run(world: World) -> None:
        world.accept(move(7, 502, event_id="a"), move(8, 503, event_id="b"))
        world.drain()

    for at, world in crash_everywhere(make, run):
        assert world.linked() == {(502, 7), (503, 8)}, at
        assert {(job.state, job.total) for job in world.jobs()} == {("succeeded", 2)}, at
        assert world.simulator.violations("token-acme") == (), at
        assert inspector_of(world.store).inspect("acme").flaws == ()


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """Up to five changes of one unit at different times, in any order of arrival."""
    times = draw(st.lists(st.integers(1, 60), min_size=1, max_size=5, unique=True))
    made = []
    for number, ago in enumerate(times):
        building = draw(st.sampled_from((*BUILDINGS, 0)))
        event = {"occurred_at": (START - ago) * 1_000_000, "event_id": f"e{number}"}
        asked = move(7, *filter(None, [building]), **event)
        is_delete = building and draw(st.sampled_from((True, False, False)))
        made.append(msgspec.structs.replace(asked, action="delete", replaces="") if is_delete else asked)
    return made


def expected_buildings(changes: Collection[Change], before: Collection[int]) -> set[int]:
    """Return the buildings in the end: every change in the order of what happened."""
    buildings = set(before)
    for each in sorted(changes, key=lambda each: each.occurred_at or 0):
        buildings = {*each.parents} if each.action == "replace" else buildings - {*each.parents}
    return buildings


@given(
    submitted=histories(),
    between=st.lists(st.booleans(), min_size=5, max_size=5),
    before=st.sampled_from([(), (501,)]),
    rate=st.sampled_from([0.0, 0.0, 0.1]),
    seed=st.integers(0, 1000),
)
def test_in_any_order_of_arrival_the_unit_ends_in_its_last_building_and_never_is_in_two(
    submitted: list[Change], between: list[bool], before: tuple[int, ...], rate: float, seed: int
) -> None:
    kinds = ("lost_after", "lost_before", "gateway_after", "server_error", "throttle")
    world = World(MemoryStore, faults=FaultPlan.random(seed, rate, kinds))
    in_building(world, *((building, 7) for building in before))
    for wanted, flush in zip(submitted, between, strict=False):
        world.accept(wanted)
        if flush:
            world.flush()
    world.drain()
    assert {building for building, _ in world.linked()} == expected_buildings(submitted, before)
    ended = [world.job(number) for number in range(len(submitted))]
    assert all(each.state in ("succeeded", "superseded") for each in ended)
    assert all(sum(each.counts.values()) == each.total for each in ended)
    assert world.simulator.violations("token-acme") == ()
    assert inspector_of(world.store).inspect("acme").flaws == ()
