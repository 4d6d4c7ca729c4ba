"""The guard in itself: what it reads, what it knows from answers, and what it refuses."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.planner_values import intent
from worker.contract import Relation
from worker.planner.actions import (
    Action,
    ActionResult,
    ErrorClass,
    Kind,
    Operation,
    Reply,
    Request,
    Verdict,
)
from worker.planner.apply_reply import Effects
from worker.planner.fold import NEVER, ConfirmedState, IntentAction, JobVersion, Version
from worker.planner.guard import Guard, guard_key
from worker.planner.relation_state import Doubt, RelationState, add_intents

BROKER, UNIT, BUYER = "estate:address:contactPerson", "estate:estateUnit", "estate:address:buyer"
SIDES = {BROKER: "parent", UNIT: "child"}
NOW = 100
PEOPLE = st.integers(41, 44)


def new_guard() -> Guard:
    return Guard(lambda name: SIDES.get(name, ""))


def state(action: IntentAction, *, allow_empty: bool = False) -> RelationState:
    wanted = replace(intent(1, action), allow_empty=allow_empty)
    made, _, _ = add_intents((wanted,), None, ConfirmedState(), None, now=0, upsert=False)
    assert made
    return made


def operation(kind: Kind, relation: Relation) -> Operation:
    return Operation(kind, relation)


def read(guard: Guard, *parents: int, related: Mapping[int, set[int]], verdict: Verdict = Verdict.OK) -> None:
    answers = {record: frozenset(ids) for record, ids in related.items()}
    result = ActionResult(verdict, 80, ErrorClass.RECORD, "no such record", answers)
    guard.note_reply(Request((Action("get", BROKER, parents, ()),)), Reply((result,)))


def confirm(guard: Guard, relation: Relation, *, present: bool) -> set[str]:
    version = JobVersion(Version(5, 5), "job")
    memory = ConfirmedState(version if present else NEVER, NEVER if present else version)
    effects = Effects(confirmed={relation: (memory, None)})
    return guard.note_effects(effects, {relation: state("create" if present else "delete")})


def test_what_is_not_guarded_goes_as_it_is() -> None:
    relation = Relation(BUYER, 1, 2)
    screened = new_guard().screen([operation("delete", relation)], {relation: state("delete")})
    assert (screened.free, screened.undecided) == ([operation("delete", relation)], [])


def test_a_guarded_write_becomes_a_read_by_its_record_first() -> None:
    broker, unit = Relation(BROKER, 501, 42), Relation(UNIT, 1, 70)
    screened = new_guard().screen(
        [operation("delete", broker), operation("create", unit)],
        {broker: state("delete"), unit: state("create")},
    )
    assert screened.free == [Operation("get", broker, ask="parent"), Operation("get", unit, ask="child")]


def test_a_delete_waits_a_round_for_the_create_that_makes_way_without_reading() -> None:
    old, new = Relation(BROKER, 501, 42), Relation(BROKER, 501, 43)
    guard, states = new_guard(), {old: state("delete"), new: state("create")}
    screened = guard.screen([operation("delete", old), operation("create", new)], states)
    assert screened.free == [operation("create", new)]
    assert confirm(guard, new, present=True) == {guard_key(old, "parent")}
    assert guard.screen([operation("delete", old)], states).undecided == [operation("delete", old)]
    assert guard.refuse(old, {}, now=NOW) is None


def test_whoever_means_it_passes() -> None:
    relation = Relation(BROKER, 501, 42)
    screened = new_guard().screen(
        [operation("delete", relation)], {relation: state("delete", allow_empty=True)}
    )
    assert screened.free == [operation("delete", relation)]


@given(
    shown=st.sets(PEOPLE),
    deleted=st.lists(PEOPLE, min_size=1, unique=True),
    landing=st.sets(PEOPLE),
    made=st.sets(PEOPLE),
)
def test_somebody_who_surely_stands_is_always_left(
    shown: set[int], deleted: list[int], landing: set[int], made: set[int]
) -> None:
    guard = new_guard()
    read(guard, 501, related={501: shown})
    for child in made - set(deleted):
        confirm(guard, Relation(BROKER, 501, child), present=True)
    doubts = {Relation(BROKER, 501, child): Doubt(NOW + 1, "delete") for child in landing}
    allowed = {
        child for child in deleted if guard.refuse(Relation(BROKER, 501, child), doubts, now=NOW) is None
    }
    left = shown | (made - set(deleted))
    assert not allowed & left or left - allowed - landing


@given(shown=st.sets(st.integers(1, 4)), wanted=st.lists(st.integers(1, 4), min_size=1, unique=True))
def test_a_unit_gets_one_building_at_most(shown: set[int], wanted: list[int]) -> None:
    guard = new_guard()
    result = ActionResult(Verdict.OK, related={70: frozenset(shown)})
    guard.note_reply(Request((Action("get", UNIT, (), (70,)),)), Reply((result,)))
    allowed = {parent for parent in wanted if guard.refuse(Relation(UNIT, parent, 70), {}, now=NOW) is None}
    assert len(shown | allowed) <= max(1, len(shown))


@pytest.mark.parametrize(("until", "refused"), [(NOW, False), (NOW + 1, True)])
def test_a_create_elsewhere_counts_as_long_as_it_may_land(until: int, refused: bool) -> None:
    guard = new_guard()
    guard.note_reply(
        Request((Action("get", UNIT, (), (70,)),)),
        Reply((ActionResult(Verdict.OK, related={70: frozenset()}),)),
    )
    doubts = {Relation(UNIT, 1, 70): Doubt(until, "create")}
    refusal = guard.refuse(Relation(UNIT, 2, 70), doubts, now=NOW)
    assert (refusal is not None) == refused
    assert refusal is None or "estate 70 has another estate by estate:estateUnit" in refusal.message


def test_a_record_that_cannot_be_read_is_refused_for_that_and_others_are_read_alone_next() -> None:
    guard, broker = new_guard(), Relation(BROKER, 501, 42)
    read(guard, 501, 999, related={}, verdict=Verdict.REJECTED)
    refusal = guard.refuse(broker, {}, now=NOW)
    assert refusal
    assert (refusal.error, guard.was_refused_together(broker), guard.is_unreadable(broker)) == (
        "last_one",
        True,
        False,
    )
    read(guard, 501, related={}, verdict=Verdict.REJECTED)
    assert guard.refuse(broker, {}, now=NOW) == (80, "record", "no such record")
    assert guard.is_unreadable(broker)


def test_an_answer_that_got_lost_teaches_nothing() -> None:
    guard, broker = new_guard(), Relation(BROKER, 501, 42)
    read(guard, 501, related={501: {43}}, verdict=Verdict.UNKNOWN)
    assert guard.screen([operation("delete", broker)], {broker: state("delete")}).free == [
        Operation("get", broker, ask="parent")
    ]
