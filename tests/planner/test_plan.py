"""The plan: every operation once, within the limits, conflicts apart and in order (R11)."""

from collections import Counter, defaultdict
from itertools import combinations, groupby, pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_values import largest_matching
from worker.contract import Order, Relation
from worker.planner.actions import Action, Kind, Operation
from worker.planner.plan import Limits, Plan, plan

ORDERS: dict[str, Order] = {"free": "free", "broker": "create_first", "unit": "delete_first"}
BUYER, CONFIRMED = "free", (("statusTerminbestaetigung", "bestätigt"),)
AMPLE = Limits(max_ids=1000, max_actions=1000)

KINDS: st.SearchStrategy[Kind] = st.sampled_from(["create", "create", "delete", "modify", "get"])
INFOS, PARTS = st.sampled_from([(), CONFIRMED]), st.sampled_from(["", "", "", "1/2"])


def some(names: list[str], parents: int, children: int) -> st.SearchStrategy[Operation]:
    """Operations on relations of a few types among a few records."""
    relations = st.builds(Relation, st.sampled_from(names), st.integers(1, parents), st.integers(1, children))
    infos = KINDS.flatmap(
        lambda kind: st.tuples(st.just(kind), INFOS if kind in ("create", "modify") else st.just(()))
    )
    return st.builds(
        lambda kind_and_info, relation, part: Operation(kind_and_info[0], relation, kind_and_info[1], part),
        infos,
        relations,
        PARTS,
    )


MANY = st.lists(some(sorted(ORDERS), 4, 5), max_size=40) | st.lists(
    some(["broker", "unit"], 2, 2), max_size=8
)
ONCE_EACH = st.lists(some(sorted(ORDERS), 4, 5), max_size=40, unique_by=lambda operation: operation.relation)
LIMITS = st.builds(Limits, max_ids=st.integers(1, 4), max_actions=st.integers(1, 5))


def planned(operations: list[Operation], limits: Limits = AMPLE) -> Plan:
    return plan(operations, limits, ORDERS.__getitem__)


def create(parent: int, child: int, *, name: str = BUYER) -> Operation:
    return Operation("create", Relation(name, parent, child))


def delete(parent: int, child: int, *, name: str = BUYER) -> Operation:
    return Operation("delete", Relation(name, parent, child))


def get(parent: int, child: int, *, name: str = BUYER) -> Operation:
    return Operation("get", Relation(name, parent, child))


def shape(made: Plan) -> list[list[tuple[Kind, tuple[int, ...], tuple[int, ...]]]]:
    return [
        [(action.kind, action.parents, action.children) for action in request.actions]
        for request in made.requests
    ]


def visits(made: Plan) -> dict[Relation, list[tuple[int, Action]]]:
    """Per relation the actions about it, each with the number of its request, in the order of sending."""
    found = defaultdict(list)
    for number, request in enumerate(made.requests):
        for action in request.actions:
            for relation in action.relations:
                found[relation].append((number, action))
    return found


def conflict(one: Action, other: Action) -> bool:
    """Return whether two actions conflict: R11, the naive way."""
    if set(one.relations) & set(other.relations):
        return True
    ordered = (
        one.type == other.type
        and ORDERS[one.type] != "free"
        and {one.kind, other.kind} == {"create", "delete"}
    )
    return ordered and bool(set(one.parents) & set(other.parents) or set(one.children) & set(other.children))


def comes_second(operation: Operation) -> bool:
    return (operation.kind, ORDERS[operation.relation.type]) in (
        ("delete", "create_first"),
        ("create", "delete_first"),
    )


@given(MANY, LIMITS)
def test_every_operation_is_in_exactly_one_action_and_in_its_turn(
    operations: list[Operation], limits: Limits
) -> None:
    wanted = defaultdict(list)
    for operation in operations:
        wanted[operation.relation].append((operation.kind, operation.info))
    met = visits(planned(operations, limits))
    assert {
        relation: [(action.kind, action.info) for _, action in actions] for relation, actions in met.items()
    } == wanted
    for actions in met.values():
        assert all(before < after for (before, _), (after, _) in pairwise(actions))


@given(MANY, LIMITS)
def test_an_action_holds_one_part_only(operations: list[Operation], limits: Limits) -> None:
    parts = defaultdict(list)
    for operation in operations:
        parts[operation.relation].append(operation.part)
    holds = defaultdict(set)
    for relation, actions in visits(planned(operations, limits)).items():
        for part, (number, action) in zip(parts[relation], actions, strict=True):
            holds[number, action].add(part)
    assert all(held == {action.part} for (_, action), held in holds.items())


@given(MANY, LIMITS)
def test_every_write_is_a_star_and_every_read_asks_one_side_within_the_limits(
    operations: list[Operation], limits: Limits
) -> None:
    for request in planned(operations, limits).requests:
        assert 1 <= len(request.actions) <= limits.max_actions
        for action in request.actions:
            few, many = sorted([len(action.parents), len(action.children)])
            assert (few, bool(action.asked)) == ((0, True) if action.kind == "get" else (1, False))
            assert 1 <= many <= (1 if action.kind == "delete" else limits.max_ids)


@given(MANY, LIMITS)
def test_a_read_wants_only_relations_of_the_ids_it_asks_about(
    operations: list[Operation], limits: Limits
) -> None:
    for request in planned(operations, limits).requests:
        for action in request.actions:
            if action.kind == "get":
                ids = [relation.parent if action.parents else relation.child for relation in action.asked]
                assert tuple(dict.fromkeys(ids)) == (action.parents or action.children)
                assert len(set(action.asked)) == len(action.asked)


@given(MANY, LIMITS)
def test_no_request_holds_two_actions_that_conflict(operations: list[Operation], limits: Limits) -> None:
    for request in planned(operations, limits).requests:
        assert not any(conflict(one, other) for one, other in combinations(request.actions, 2))


@given(MANY, LIMITS)
def test_a_request_begins_as_soon_as_all_that_it_conflicts_with_is_settled(
    operations: list[Operation], limits: Limits
) -> None:
    made = planned(operations, limits)
    for place, request in enumerate(made.requests):
        assert made.after[place] == max(
            (
                number + 1
                for number, earlier in enumerate(made.requests[:place])
                if any(conflict(one, other) for one in request.actions for other in earlier.actions)
            ),
            default=0,
        )


@given(MANY, LIMITS)
def test_no_action_waits_without_a_reason(operations: list[Operation], limits: Limits) -> None:
    requests = planned(operations, limits).requests
    for number, request in enumerate(requests):
        for action in request.actions:
            behind = max(
                (
                    n + 1
                    for n in range(number)
                    if any(conflict(action, other) for other in requests[n].actions)
                ),
                default=0,
            )
            assert all(len(full.actions) == limits.max_actions for full in requests[behind:number])


@given(MANY, LIMITS)
def test_the_first_kind_of_an_ordered_type_goes_before_the_second_where_records_are_shared(
    operations: list[Operation], limits: Limits
) -> None:
    met, turns = visits(planned(operations, limits)), Counter[Relation]()
    first, second, late = [], [], set()
    for operation in operations:
        relation = operation.relation
        number, action = met[relation][turns[relation]]
        turns[relation] += 1
        if comes_second(operation):
            second.append((number, action))
            late.add(relation)
        elif operation.kind in ("create", "delete") and relation not in late:
            first.append((number, action))
    for sooner, one in first:
        assert all(sooner < later for later, other in second if conflict(one, other))


@given(MANY.flatmap(lambda operations: st.tuples(st.just(operations), st.permutations(operations))), LIMITS)
def test_only_the_order_on_one_relation_makes_a_difference(
    cases: tuple[list[Operation], list[Operation]], limits: Limits
) -> None:
    operations, mixed = cases
    in_turn = {
        relation: iter(list(group))
        for relation, group in groupby(sorted(operations, key=lambda o: o.relation), key=lambda o: o.relation)
    }
    assert planned([next(in_turn[operation.relation]) for operation in mixed], limits) == planned(
        operations, limits
    )


@given(MANY, LIMITS)
def test_a_plan_counts_what_it_holds(operations: list[Operation], limits: Limits) -> None:
    made = planned(operations, limits)
    assert made.actions == sum(len(request.actions) for request in made.requests) == made.least + made.cut
    assert made.relations == len({operation.relation for operation in operations})


@given(ONCE_EACH)
def test_the_certificate_is_what_a_largest_matching_says(operations: list[Operation]) -> None:
    made = planned(operations)
    stars = defaultdict(list)
    for operation in operations:
        if operation.kind in ("create", "modify"):
            stars[operation.kind, operation.relation.type, operation.info, operation.part].append(
                operation.relation[1:]
            )
    deletes = sum(operation.kind == "delete" for operation in operations)
    reads = len(
        {(operation.relation.type, operation.part) for operation in operations if operation.kind == "get"}
    )
    assert made.least == sum(largest_matching(edges) for edges in stars.values()) + deletes + reads
    assert made.cut == 0


@given(ONCE_EACH, st.integers(1, 4))
def test_stars_that_are_too_large_are_cut_into_as_few_pieces_as_can_be(
    operations: list[Operation], most: int
) -> None:
    writes = [operation for operation in operations if operation.kind != "get"]
    whole, cut = planned(writes), planned(writes, Limits(max_ids=most, max_actions=1000))
    sizes = [
        max(len(action.parents), len(action.children))
        for request in whole.requests
        for action in request.actions
    ]
    assert cut.cut == sum(ceil(size / most) - 1 for size in sizes)
    assert cut.least == whole.least


def test_nothing_to_do_is_no_request() -> None:
    assert planned([]) == Plan((), (), 0, 0, 0, 0)


def test_eleven_deletes_of_one_estate_are_one_request() -> None:
    made = planned([delete(501, child) for child in range(9001, 9012)], Limits(max_ids=100, max_actions=50))
    assert (len(made.requests), made.actions, made.least) == (1, 11, 11)


def test_a_portal_burst_is_three_actions_in_one_request() -> None:
    burst = (
        [create(501, child) for child in range(1, 12)]
        + [delete(501, 99)]
        + [create(502, child) for child in (1, 2, 3)]
    )
    assert shape(planned(burst)) == [
        [("create", (501,), tuple(range(1, 12))), ("create", (502,), (1, 2, 3)), ("delete", (501,), (99,))],
    ]


def test_a_hundred_children_of_one_parent_are_one_action_and_one_more_is_a_cut() -> None:
    limits = Limits(max_ids=100, max_actions=50)
    assert planned([create(1, child) for child in range(100)], limits).actions == 1
    made = planned([create(1, child) for child in range(101)], limits)
    assert (made.actions, made.least, made.cut) == (2, 1, 1)


def test_a_new_broker_is_created_one_request_before_the_old_one_goes() -> None:
    assert shape(planned([delete(7, 42, name="broker"), create(7, 43, name="broker")])) == [
        [("create", (7,), (43,))],
        [("delete", (7,), (42,))],
    ]


def test_a_unit_leaves_its_old_base_object_one_request_before_it_gets_the_new_one() -> None:
    assert shape(planned([create(2, 9, name="unit"), delete(1, 9, name="unit")])) == [
        [("delete", (1,), (9,))],
        [("create", (2,), (9,))],
    ]


def test_a_swap_stays_in_order_when_its_first_half_is_read_before() -> None:
    operations = [get(7, 43, name="broker"), create(7, 43, name="broker"), delete(7, 42, name="broker")]
    assert shape(planned(operations)) == [
        [("get", (7,), ())],
        [("create", (7,), (43,))],
        [("delete", (7,), (42,))],
    ]


def test_an_address_swapped_in_two_estates_at_once_does_not_make_estates_wait_for_each_other() -> None:
    swaps = [
        operation
        for estate in (1, 2)
        for operation in (
            create(estate, 40 + estate, name="broker"),
            delete(estate, 50 + estate, name="broker"),
        )
    ]
    assert [len(request.actions) for request in planned(swaps).requests] == [2, 2]


def test_reads_ask_from_the_side_with_fewer_records() -> None:
    made = planned([get(parent, child) for parent in (1, 2, 3) for child in (8, 9)])
    assert shape(made) == [[("get", (), (8, 9))]]
    assert len(made.requests[0].actions[0].asked) == 6


def test_a_read_waits_for_the_write_of_its_relation() -> None:
    assert shape(planned([create(1, 2), get(1, 2), get(1, 3)])) == [
        [("create", (1,), (2,)), ("get", (1,), ())],
        [("get", (1,), ())],
    ]


@pytest.mark.parametrize("limits", [(0, 1), (1, 0), (-1, 5)])
def test_limits_that_allow_nothing_are_refused(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Limits(*limits)
