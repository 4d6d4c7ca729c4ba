"""The guard in itself: what it reads, what it knows from answers, and what it refuses."""

from collections.abc import Iterator, Mapping
from itertools import chain, combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.planner_values import intent
from worker.contract import Relation, Verb
from worker.planner.actions import Action, ActionResult, ErrorClass, Kind, Operation, Reply, Request, Verdict
from worker.planner.apply_reply import Effects
from worker.planner.fold import NEVER, ConfirmedState, JobVersion, Version
from worker.planner.guard import MAX_CHECKED, Guard, guard_key, makes_way
from worker.planner.relation_state import Doubt, Refusal, RelationState, add_intents

BROKER, UNIT, BUYER = "estate:address:contactPerson", "estate:estateUnit", "estate:address:buyer"
SIDES = {BROKER: "parent", UNIT: "child"}
NOW = 100
PEOPLE = st.integers(41, 44)


def new_guard() -> Guard:
    return Guard(lambda name: SIDES.get(name, ""))


def state(action: Verb, *, allow_empty: bool = False) -> RelationState:
    wanted = replace(intent(1, action), allow_empty=allow_empty)
    made, _, _ = add_intents((wanted,), None, ConfirmedState(), None, now=0, upsert=False)
    assert made
    return made


def operation(kind: Kind, relation: Relation) -> Operation:
    return Operation(kind, relation)


def read(
    guard: Guard,
    *parents: int,
    related: Mapping[int, set[int]],
    verdict: Verdict = Verdict.OK,
    error: ErrorClass = ErrorClass.RECORD,
    kind: str = BROKER,
) -> None:
    answers = {record: frozenset(ids) for record, ids in related.items()}
    result = ActionResult(verdict, 80, error, "no such record", answers)
    guard.note_reply(Request((Action("get", kind, parents, ()),)), Reply((result,)))


def read_units(guard: Guard, *units: int, related: Mapping[int, set[int]]) -> None:
    answers = {record: frozenset(ids) for record, ids in related.items()}
    guard.note_reply(
        Request((Action("get", UNIT, (), units),)), Reply((ActionResult(Verdict.OK, related=answers),))
    )


def confirm(guard: Guard, relation: Relation, *, present: bool) -> set[str]:
    version = JobVersion(Version(5, 5), "job")
    memory = ConfirmedState(version if present else NEVER, NEVER if present else version)
    effects = Effects(confirmed={relation: (memory, None)})
    return guard.note_effects(effects, {relation: state("create" if present else "delete")})


# --- all that may be so


def worlds(known: set[int], doubts: Mapping[int, Doubt]) -> Iterator[set[int]]:
    """Yield what may be related to a record: any of the writes in doubt may land, or have landed."""
    open_ = [(other, doubt.kind) for other, doubt in doubts.items() if doubt.until > NOW]
    for landing in chain.from_iterable(combinations(open_, size) for size in range(len(open_) + 1)):
        deleted = {other for other, kind in landing if kind == "delete"}
        created = {other for other, kind in landing if kind == "create"}
        yield (known - deleted) | created


OTHERS = (1, 2)
SHOWN = (None, set[int](), {1}, {2}, {1, 2})
DOUBTS = [None, *(Doubt(until, kind) for until in (NOW, NOW + 1) for kind in ("create", "delete"))]
STEPS = [*product(("is there", "is gone", "decide"), OTHERS)]
"""What happens in a flush, and to which of a record's others: it is confirmed, or is to be written."""


@pytest.mark.parametrize("shown", SHOWN)
def test_a_broker_may_go_if_another_stands_in_every_world_or_none_is_taken_away(
    shown: set[int] | None,
) -> None:
    for each, steps in product(product(DOUBTS, repeat=2), product(STEPS, repeat=3)):
        guard, known = new_guard(), set(shown or ())
        doubts = {child: doubt for child, doubt in zip(OTHERS, each, strict=True) if doubt}
        of_relations = {Relation(BROKER, 501, child): doubt for child, doubt in doubts.items()}
        if shown is not None:
            read(guard, 501, related={501: shown})
        for step, child in steps:
            relation = Relation(BROKER, 501, child)
            if step != "decide":
                confirm(guard, relation, present=step == "is there")
                known = known | {child} if step == "is there" else known - {child}
                continue
            # What may still be created stands surely in no world.
            sure = {child: doubt for child, doubt in doubts.items() if child in known}
            stands = all(world - {child} for world in worlds(known, sure))
            takes_nothing = shown is not None and child not in known
            may_go = guard.refuse(relation, of_relations, now=NOW) is None
            assert may_go == (stands or takes_nothing), (doubts, steps)
            known -= {child} if may_go else set()


@pytest.mark.parametrize("shown", SHOWN)
def test_a_unit_may_come_if_it_has_no_other_building_in_any_world(shown: set[int] | None) -> None:
    for each, steps in product(product(DOUBTS, repeat=2), product(STEPS, repeat=3)):
        guard, known = new_guard(), set(shown or ())
        doubts = {parent: doubt for parent, doubt in zip(OTHERS, each, strict=True) if doubt}
        of_relations = {Relation(UNIT, parent, 70): doubt for parent, doubt in doubts.items()}
        if shown is not None:
            read_units(guard, 70, related={70: shown})
        for step, parent in steps:
            relation = Relation(UNIT, parent, 70)
            if step != "decide":
                confirm(guard, relation, present=step == "is there")
                known = known | {parent} if step == "is there" else known - {parent}
                continue
            is_free = shown is not None and not any(world - {parent} for world in worlds(known, doubts))
            may_come = guard.refuse(relation, of_relations, now=NOW) is None
            assert may_come == is_free, (doubts, steps)
            known |= {parent} if may_come else set()


# --- what is sent


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


@pytest.mark.parametrize("kind", ["create", "modify"])
def test_of_brokers_only_deletes_are_guarded_and_of_units_only_creates(kind: Kind) -> None:
    broker, unit = Relation(BROKER, 501, 42), Relation(UNIT, 1, 70)
    written = [operation(kind, broker), operation("delete", unit)]
    screened = new_guard().screen(written, {broker: state("create"), unit: state("delete")})
    assert (screened.free, screened.undecided) == (written, [])


def test_a_read_asks_from_the_guarded_side_and_keeps_its_part() -> None:
    broker, unit, buyer = Relation(BROKER, 501, 42), Relation(UNIT, 1, 70), Relation(BUYER, 1, 2)
    states = {broker: state("delete"), unit: state("create"), buyer: state("create")}
    wanted = [Operation("get", relation, part="1/0") for relation in (broker, unit, buyer)]
    screened = new_guard().screen(wanted, states)
    assert screened.free == [replace(each, ask=SIDES.get(each.relation.type, "")) for each in wanted]
    guarded = [Operation("delete", broker, part="1/0"), Operation("create", unit, part="2/0")]
    assert new_guard().screen(guarded, states).free == [
        Operation("get", broker, part="1/0", ask="parent"),
        Operation("get", unit, part="2/0", ask="child"),
    ]


def test_what_was_read_is_decided_and_others_of_the_round_go() -> None:
    known, unknown, buyer = Relation(BROKER, 501, 42), Relation(BROKER, 502, 42), Relation(BUYER, 1, 2)
    guard, states = new_guard(), {known: state("delete"), unknown: state("delete"), buyer: state("create")}
    read(guard, 501, related={501: {42}})
    operations = [operation("delete", known), operation("delete", unknown), operation("create", buyer)]
    screened = guard.screen(operations, states)
    assert screened.undecided == [operation("delete", known)]
    assert screened.free == [Operation("get", unknown, ask="parent"), operation("create", buyer)]
    assert screened.awaited == frozenset()


def test_a_unit_is_read_although_its_old_building_is_left_in_the_same_round() -> None:
    old, new = Relation(UNIT, 1, 70), Relation(UNIT, 2, 70)
    states = {old: state("delete"), new: state("create")}
    screened = new_guard().screen([operation("delete", old), operation("create", new)], states)
    assert screened.free == [operation("delete", old), Operation("get", new, ask="child")]
    assert screened.awaited == {guard_key(new, "child")}


def test_the_records_in_which_way_is_made_are_known_by_their_keys() -> None:
    states = {
        Relation(BROKER, 501, 42): state("create"),
        Relation(BROKER, 502, 42): state("delete"),
        Relation(UNIT, 1, 70): state("delete"),
        Relation(UNIT, 1, 71): state("create"),
        Relation(BUYER, 1, 2): state("create"),
    }
    assert new_guard().records_with_way_makers(states) == {f"{BROKER}:501", f"{UNIT}::70"}


@pytest.mark.parametrize("presence", [True, False, None])
def test_a_new_broker_and_a_building_that_is_left_make_way(presence: bool | None) -> None:
    assert makes_way(presence, "parent") == (presence is True)
    assert makes_way(presence, "child") == (presence is False)
    assert not makes_way(presence, "")


@given(st.lists(st.tuples(st.sampled_from((BROKER, UNIT, BUYER)), PEOPLE, PEOPLE), min_size=2, max_size=2))
def test_relations_of_one_guarded_record_have_one_key(pairs: list[tuple[str, int, int]]) -> None:
    guard, first, second = new_guard(), Relation(*pairs[0]), Relation(*pairs[1])

    def record(relation: Relation) -> tuple[str, int] | None:
        side = SIDES.get(relation.type)
        number = relation.parent if side == "parent" else relation.child
        return (relation.type, number) if side else None

    assert (guard.key(first) == guard.key(second)) == (record(first) == record(second))
    assert bool(guard.key(first)) == (record(first) is not None)


def test_those_that_stand_beside_are_looked_at_up_to_a_bound() -> None:
    guard = new_guard()
    read(guard, 501, related={501: set(range(1, 40))})
    read_units(guard, 70, related={70: {3, 1, 2}})
    others = guard.others([operation("delete", Relation(BROKER, 501, 42))])
    assert others == [Relation(BROKER, 501, child) for child in range(1, MAX_CHECKED + 1)]
    units = [operation("create", Relation(UNIT, 9, 70)), operation("create", Relation(UNIT, 8, 70))]
    assert guard.others(units) == [Relation(UNIT, parent, 70) for parent in (1, 2, 3)]


def test_doubts_are_told_by_the_record_they_are_about() -> None:
    doubt, first, second, other = (
        Doubt(NOW, "create"),
        Relation(BROKER, 501, 1),
        Relation(BROKER, 501, 2),
        Relation(BROKER, 502, 1),
    )
    doubts = {first: doubt, second: doubt, other: doubt, Relation(BROKER, 503, 1): None}
    assert new_guard().by_record(doubts) == {
        f"{BROKER}:501": {first: doubt, second: doubt},
        f"{BROKER}:502": {other: doubt},
    }


# --- what is refused and learned


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
    reason = (
        "estate 70 has another estate by estate:estateUnit, or may get it yet; it has to leave that first"
    )
    assert refusal == (Refusal(0, "dependency", reason) if refused else None)


def test_the_last_broker_is_kept_with_a_reason_that_says_what_to_do() -> None:
    guard = new_guard()
    read(guard, 501, related={501: {42}})
    refusal = guard.refuse(Relation(BROKER, 501, 42), {}, now=NOW)
    assert refusal == Refusal(
        0,
        "last_one",
        "no other estate:address:contactPerson of estate 501 is known to stand, and it is to keep one; "
        "link another, or send the delete with allow_empty",
    )


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


def test_a_record_that_could_not_be_read_is_known_once_it_is_read() -> None:
    guard, broker = new_guard(), Relation(BROKER, 501, 42)
    read(guard, 501, related={}, verdict=Verdict.REJECTED)
    assert guard.screen([operation("delete", broker)], {broker: state("delete")}).undecided
    read(guard, 501, related={501: {42, 43}})
    assert not guard.is_unreadable(broker)
    assert not guard.was_refused_together(broker)
    assert guard.refuse(broker, {}, now=NOW) is None


@pytest.mark.parametrize("name", [BROKER, UNIT])
def test_a_record_whose_answer_cannot_be_read_is_not_one_without_relations(name: str) -> None:
    guard, relation = new_guard(), Relation(name, 501, 501)
    asked = Action("get", name, (501, 502), ()) if name == BROKER else Action("get", name, (), (501, 502))
    odd = ActionResult(Verdict.OK, unreadable=frozenset({501}))
    guard.note_reply(Request((asked,)), Reply((odd,)))
    refusal = guard.refuse(relation, {}, now=NOW)
    assert (refusal and refusal.error, guard.is_unreadable(relation)) == ("unknown", False)
    assert guard.refuse(Relation(name, 502, 502), {}, now=NOW) is None
    read_it = ActionResult(Verdict.OK, related={501: frozenset()})
    guard.note_reply(Request((asked,)), Reply((read_it,)))
    assert guard.refuse(relation, {}, now=NOW) is None


def test_an_error_that_time_may_cure_leaves_hope() -> None:
    guard, broker = new_guard(), Relation(BROKER, 501, 42)
    assert not guard.is_unreadable(broker)
    assert not guard.was_refused_together(broker)
    read(guard, 501, related={}, verdict=Verdict.REJECTED, error=ErrorClass.AMBIGUOUS)
    assert not guard.is_unreadable(broker)


def test_reads_of_what_is_not_guarded_and_writes_teach_nothing() -> None:
    guard, broker = new_guard(), Relation(BROKER, 501, 42)
    read(guard, 501, related={501: {42, 43}}, kind=BUYER)
    wrote = Action("create", BROKER, (501,), (43,))
    guard.note_reply(Request((wrote,)), Reply((ActionResult(Verdict.OK),)))
    assert guard.screen([operation("delete", broker)], {broker: state("delete")}).undecided == []


def test_an_action_of_no_record_does_not_hide_the_next() -> None:
    guard = new_guard()
    actions = (
        Action("get", BROKER, (), (42,)),
        Action("get", BUYER, (1,), ()),
        Action("get", BROKER, (501,), ()),
    )
    shown = ActionResult(Verdict.OK, related={501: frozenset({43})})
    guard.note_reply(Request(actions), Reply((shown, shown, shown)))
    assert guard.refuse(Relation(BROKER, 501, 42), {}, now=NOW) is None


def test_a_record_that_a_read_leaves_out_has_nothing_related() -> None:
    guard = new_guard()
    read_units(guard, 70, related={})
    assert guard.refuse(Relation(UNIT, 1, 70), {}, now=NOW) is None


def test_only_news_of_a_relation_in_hand_are_learned() -> None:
    guard, new, old = new_guard(), JobVersion(Version(5, 5), "job"), JobVersion(Version(4, 4), "job")
    mine, other = Relation(BROKER, 501, 42), Relation(BROKER, 501, 43)
    known = replace(state("create"), confirmed=ConfirmedState(new))
    effects = Effects(confirmed={other: (ConfirmedState(new), None), mine: (ConfirmedState(new), None)})
    assert guard.note_effects(effects, {mine: known}) == set()
    assert guard.others([operation("delete", mine)]) == []
    late = Effects(confirmed={mine: (ConfirmedState(old), None)})
    assert guard.note_effects(late, {mine: known}) == set()
    buyer = Relation(BUYER, 501, 42)
    assert (
        guard.note_effects(Effects(confirmed={buyer: (ConfirmedState(new), None)}), {buyer: known}) == set()
    )
    # Others after it are learned all the same.
    both = Effects(confirmed={buyer: (ConfirmedState(new), None), other: (ConfirmedState(new), None)})
    assert guard.note_effects(both, {other: state("create")}) == {f"{BROKER}:501"}


def test_a_building_that_was_left_lets_the_next_one_come() -> None:
    guard, old, new = new_guard(), Relation(UNIT, 1, 70), Relation(UNIT, 2, 70)
    read_units(guard, 70, related={70: {1}})
    assert guard.refuse(new, {}, now=NOW)
    assert confirm(guard, old, present=False) == {f"{UNIT}::70"}
    assert guard.refuse(new, {}, now=NOW) is None
    assert confirm(guard, new, present=True) == set()
    assert guard.refuse(old, {}, now=NOW)


def test_an_answer_that_got_lost_teaches_nothing() -> None:
    guard, broker = new_guard(), Relation(BROKER, 501, 42)
    read(guard, 501, related={501: {43}}, verdict=Verdict.UNKNOWN)
    assert guard.screen([operation("delete", broker)], {broker: state("delete")}).free == [
        Operation("get", broker, ask="parent")
    ]
