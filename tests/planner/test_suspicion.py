"""Who shares a request with whom, and when it may go: nobody fails for its neighbours for long (R24)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_rounds import DOUBT, LOST, OK, FlushLoop, refused
from tests.support.planner_values import intent
from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Action, ActionResult, ErrorClass, Operation, Reply, Request, Verdict
from worker.planner.apply_reply import ReplyContext, apply_reply
from worker.planner.relation_state import ALONE, OpenRelation, RelationState, Stage, reopen
from worker.planner.retry_policy import RetryPolicy
from worker.planner.suspicion import (
    HARMLESS_READ,
    LONGEST_APART,
    LONGEST_REST,
    TOGETHER,
    OperationGroup,
    Priority,
    next_groups,
    probe,
    put_off,
)

BUYER = "estate:address:buyer"
RETRY = RetryPolicy(give_up_after=600.0)
States = dict[Relation, RelationState]


def state_of(**progress: object) -> RelationState:
    state = reopen(OpenRelation((intent(1, "create"),), **progress), upsert=False)
    assert state
    return state


def states_of(*progress: dict[str, object]) -> States:
    return {Relation(BUYER, 501 + number, 9001): state_of(**each) for number, each in enumerate(progress)}


def creates(states: States) -> list[Operation]:
    return [Operation("create", relation) for relation in states]


progress = st.fixed_dictionaries(
    {
        "since": st.integers(0, 3),
        "not_before": st.integers(0, 3),
        "failures": st.integers(0, 3),
        "lost_writes": st.integers(0, 2),
        "suspicion": st.integers(0, 5),
    }
)
many = st.lists(progress, min_size=1, max_size=200).map(lambda drawn: states_of(*drawn))


def is_suspected(states: States, operation: Operation) -> bool:
    return states[operation.relation].open.suspicion > 0


def take_all(states: States, *, troubled: bool) -> list[OperationGroup]:
    """Return all groups in the order in which they go, if each is done with before the next."""
    left, taken = creates(states), list[OperationGroup]()
    while groups := next_groups(left, states, troubled=troubled):
        taken.append(groups[0])
        left = [operation for operation in left if operation not in groups[0].operations]
    return taken


def test_in_trouble_what_came_last_and_never_failed_goes_first_and_then_what_failed_least() -> None:
    states = states_of({"since": 1}, {"since": 2}, {"failures": 1}, {"lost_writes": 1}, {"suspicion": 1})
    groups = take_all(states, troubled=True)
    places = [[operation.relation.parent - 501 for operation in group.operations] for group in groups]
    assert places == [[1], [0], [2, 3], [4]]
    newest = Priority.NEW  # of those that are left
    assert [group.priority for group in groups] == [newest, newest, Priority.FAILED, Priority.SUSPECTED]
    assert [(group.failures, group.suspicion) for group in groups] == [(0, 0), (0, 0), (1, 0), (0, 1)]


def test_without_trouble_only_what_failed_twice_is_told_apart() -> None:
    states = states_of({"since": 1}, {"since": 2}, {"failures": 1}, {"failures": 2}, {"lost_writes": 2})
    groups = take_all(states, troubled=False)
    places = [[operation.relation.parent - 501 for operation in group.operations] for group in groups]
    assert (places, [group.priority for group in groups]) == (
        [[0, 1, 2], [3, 4]],
        [Priority.OPEN, Priority.FAILED],
    )


def test_of_equally_suspected_ones_those_that_wait_longest_go_first_and_neighbours_together() -> None:
    waits = [{"suspicion": 2, "not_before": 9 - number // 8} for number in range(16)]
    states = states_of(*waits, {"suspicion": 1, "not_before": 99})
    groups = next_groups(creates(states), states, troubled=False)
    places = [[operation.relation.parent - 501 for operation in group.operations] for group in groups]
    assert places == [[16], list(range(8, 16)), list(range(8))]


@given(many, st.booleans())
def test_everything_goes_once_and_what_is_suspected_goes_last_and_among_itself(
    states: States, troubled: bool
) -> None:
    groups = take_all(states, troubled=troubled)
    assert sorted(op.relation for group in groups for op in group.operations) == sorted(states)
    assert all(one.priority <= other.priority for one, other in pairwise(groups))
    for group in groups:
        suspected = group.priority is Priority.SUSPECTED
        assert {is_suspected(states, operation) for operation in group.operations} == {suspected}


@given(many)
def test_suspected_relations_travel_in_ever_smaller_company_the_least_suspected_first(states: States) -> None:
    groups = [each for each in take_all(states, troubled=True) if each.priority is Priority.SUSPECTED]
    assert all(one.suspicion <= other.suspicion for one, other in pairwise(groups))
    for group in groups:
        assert len(group.operations) <= (*TOGETHER, *(1,) * 9)[group.suspicion - 1]
        assert group.suspicion < ALONE or len(group.operations) == 1


@given(many)
def test_without_trouble_one_failure_is_forgiven(states: States) -> None:
    first = take_all(states, troubled=False)[0]
    forgiven = {
        relation
        for relation, state in states.items()
        if not state.open.suspicion and max(state.open.failures, state.open.lost_writes) <= 1
    }
    assert not forgiven or {operation.relation for operation in first.operations} == forgiven


@given(many)
def test_in_trouble_what_came_last_shares_no_request_with_what_came_before_or_failed(states: States) -> None:
    good = [
        state.open.since
        for state in states.values()
        if not (state.open.failures or state.open.lost_writes or state.open.suspicion)
    ]
    first = take_all(states, troubled=True)[0]
    since = {states[operation.relation].open.since for operation in first.operations}
    assert not good or since == {max(good)}


@pytest.mark.parametrize(
    ("priority", "failures", "may_go"),
    [
        (Priority.NEW, 0, [True, True, False, False]),
        (Priority.OPEN, 1, [True, True, False, False]),
        (Priority.FAILED, 1, [True, True, False, False]),
        (Priority.FAILED, 2, [True, False, False, False]),
        (Priority.SUSPECTED, 0, [True, False, False, False]),
    ],
)
def test_the_more_doubtful_the_sooner_it_waits_for_a_sign_that_the_api_is_there(
    priority: Priority, failures: int, may_go: list[bool]
) -> None:
    group = OperationGroup(priority, (), failures, 0)
    assert [group.may_go(number) for number in (0, 1, 2, 5)] == may_go


@pytest.mark.parametrize("priority", Priority)
def test_only_what_failed_before_is_to_blame_and_only_if_something_else_was_answered_since(
    priority: Priority,
) -> None:
    group = OperationGroup(priority, (), 1, 0)
    failed_before = priority in (Priority.FAILED, Priority.SUSPECTED)
    assert [group.is_to_blame(failures) for failures in (0, 1, 5)] == [failed_before, False, False]


def test_a_probe_names_nothing_of_the_batch_but_every_other_one_of_an_open_breaker_what_failed_least() -> (
    None
):
    states = states_of({"failures": 9}, {"failures": 1}, {"failures": 5})
    [group] = next_groups(creates(states), states, troubled=True)
    read = [probe(group, states, failures) for failures in range(10)]
    least = Relation(BUYER, 502, 9001)
    assert [request == HARMLESS_READ for request in read] == [True] * 6 + [False, True, False, True]
    assert list(read[6].relations()) == [least]
    [action] = read[6].actions
    assert (action.kind, action.type, action.parents, action.children) == ("get", BUYER, (502,), ())
    assert list(HARMLESS_READ.relations()) == []


@pytest.mark.parametrize(
    ("suspicion", "seconds", "rest"),
    [(0, 0.1, 1.0), (3, 0.1, 1.0), (4, 0.1, 2.0), (5, 0.1, 4.0), (99, 0.1, 16.0), (1, 30.0, 120.0)],
)
def test_the_rest_is_four_times_the_failed_request_or_its_slots_which_double_alone(
    suspicion: int, seconds: float, rest: float
) -> None:
    group = OperationGroup(Priority.SUSPECTED, (), 0, suspicion)
    assert group.rest_after(seconds, rate=4.0) == rest
    assert group.rest_after(1000.0, rate=4.0) == LONGEST_REST


@given(many, st.floats(0, 90))
def test_what_is_put_off_comes_later_one_company_after_the_other_within_a_minute(
    states: States, apart: float
) -> None:
    groups = next_groups(creates(states), states, troubled=True)
    effects = put_off(groups, states, now=5, until=9 * SECOND, apart=apart, retry=RETRY)
    assert effects.states.keys() == {op.relation for group in groups for op in group.operations}
    for place, group in enumerate(groups):
        for operation in group.operations:
            state = effects.states[operation.relation]
            assert state
            assert state.open.not_before == 9 * SECOND + round(min(place * apart, LONGEST_APART) * SECOND)


def test_what_failed_alone_and_was_tried_for_too_long_fails_without_another_try() -> None:
    states = states_of(
        {"suspicion": ALONE}, {"suspicion": ALONE + 1}, {"suspicion": ALONE + 1, "since": SECOND}
    )
    groups = next_groups(creates(states), states, troubled=True)
    now = 601 * SECOND
    effects = put_off(groups, states, now=now, until=now + 1, apart=0.0, retry=RETRY)
    assert effects.states.keys() == states.keys()
    assert effects.states[Relation(BUYER, 502, 9001)] is None
    [outcome] = effects.outcomes
    assert (outcome.relation, outcome.result) == (Relation(BUYER, 502, 9001), "failed")
    assert outcome.refusal
    assert outcome.refusal.error == "unknown"


# --- how suspicion grows and ends


def reply_to(state: RelationState, action: Action, result: ActionResult, *, to_blame: bool) -> OpenRelation:
    """Return what is open after an answer that keeps the relation open."""
    [relation] = action.relations
    context = ReplyContext(0, SECOND, DOUBT, RETRY, lambda: 0.5, to_blame)
    effects = apply_reply({relation: state}, Request((action,)), Reply((result,)), context)
    after = effects.states[relation]
    assert after
    return after.open


WRITE = Action("create", BUYER, (501,), (9001,))
READ = Action("get", BUYER, (501,), (), asked=(Relation(BUYER, 501, 9001),))


@pytest.mark.parametrize("action", [WRITE, READ], ids=["write", "read"])
@pytest.mark.parametrize("to_blame", [True, False])
def test_suspicion_grows_by_what_the_relation_is_to_blame_for_and_not_in_an_outage(
    action: Action, to_blame: bool
) -> None:
    stage = Stage.READ_BACK if action is READ else Stage.WRITE
    opened = reply_to(state_of(suspicion=2, stage=stage), action, LOST, to_blame=to_blame)
    assert (opened.suspicion, opened.failures) == (2 + to_blame, 1)


def test_a_definite_answer_to_a_write_ends_the_suspicion_and_one_to_a_read_does_not() -> None:
    rejected = reply_to(state_of(suspicion=3), WRITE, refused(ErrorClass.AMBIGUOUS), to_blame=False)
    assert rejected.suspicion == 0
    absent = ActionResult(Verdict.OK, related={501: frozenset()})
    read = reply_to(state_of(suspicion=3, stage=Stage.READ_BACK), READ, absent, to_blame=False)
    assert (read.suspicion, read.stage) == (3, Stage.WRITE_ABSENT)


def test_a_changed_target_stays_suspected_but_is_tried_alone_before_it_fails() -> None:
    relation = Relation(BUYER, 501, 9001)
    loop = FlushLoop(lambda _: OK)
    loop.states[relation] = state_of(suspicion=7)
    loop.add_intents({relation: [intent(2, "delete")]})
    assert loop.states[relation].open.suspicion == ALONE


def test_the_delay_grows_with_suspicion_though_reads_are_answered_in_between() -> None:
    delays = [
        reply_to(state_of(suspicion=number), WRITE, LOST, to_blame=True).not_before for number in range(6)
    ]
    assert all(one < other for one, other in pairwise(delays[1:]))
