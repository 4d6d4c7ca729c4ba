"""Laws of the rehearsal: it loses nothing, invents nothing, and ends where the latest changes point."""

from hypothesis import given
from hypothesis import strategies as st

from ops.explain import explain_plan, rehearse
from ops.explain.flow import catalogue_order
from ops.explain.words import ids
from worker.contract import Change, Relation
from worker.planner.actions import Request
from worker.planner.plan import Limits

TYPES = ("estate:address:buyer", "estate:address:contactPerson", "estate:estateUnit", "calendar:address")
INFO = (("statusTerminbestaetigung", "gesendet"),)


@st.composite
def change(draw: st.DrawFn) -> Change:
    action = draw(st.sampled_from(("create", "delete", "modify")))
    return Change(
        account="acme",
        action=action,
        type="calendar:address" if action == "modify" else draw(st.sampled_from(TYPES)),
        parents=(draw(st.integers(1, 3)),),
        children=tuple(draw(st.sets(st.integers(1, 5), min_size=1))),
        info=INFO if action == "modify" else (),
        occurred_at=draw(st.none() | st.integers(1, 20)),
        event_id=draw(st.none() | st.sampled_from("abcdef")),
    )


flows = st.lists(change(), min_size=1, max_size=12)


def carried_out(requests: list[Request]) -> dict[Relation, bool]:
    there: dict[Relation, bool] = {}
    for request in requests:
        there |= {
            relation: action.kind == "create"
            for action in request.actions
            if action.kind != "modify"
            for relation in action.relations
        }
    return there


@given(flows)
def test_every_target_is_reached_and_nothing_else_is_touched(flow: list[Change]) -> None:
    told = rehearse(list(enumerate(flow, start=1)))
    touched = {relation for request in told.requests for relation in request.relations()}
    assert touched == set(told.states)
    assert carried_out(told.requests) == {
        relation: case.target.presence
        for relation, case in told.states.items()
        if case.target.presence is not None
    }


@given(flows)
def test_every_wish_either_stands_behind_a_target_or_lost_for_a_reason(flow: list[Change]) -> None:
    told = rehearse(list(enumerate(flow, start=1)))
    repeated = {repeat.number for repeat in told.repeats}
    wished = {
        (f"#{number}", relation)
        for number, each in enumerate(flow, start=1)
        if number not in repeated
        for relation in each.relations
    }
    standing = {
        (wish.job, relation) for relation, case in told.states.items() for wish in case.target.intents
    }
    lost = {(each.intent.job, relation) for relation, each in told.lost}
    assert standing | lost == wished
    assert not standing & lost


@given(flows)
def test_the_first_half_of_a_swap_is_requested_before_the_second(flow: list[Change]) -> None:
    told = rehearse(list(enumerate(flow, start=1)))
    for first, name, side in (
        ("create", "estate:address:contactPerson", "parent"),
        ("delete", "estate:estateUnit", "child"),
    ):
        seconds: set[int] = set()
        for request in told.requests:
            here = [action for action in request.actions if action.type == name]
            assert not seconds & {
                getattr(relation, side)
                for action in here
                if action.kind == first
                for relation in action.relations
            }
            seconds |= {
                getattr(relation, side)
                for action in here
                if action.kind != first
                for relation in action.relations
            }


@given(flows, st.integers(1, 4), st.integers(1, 3))
def test_limits_are_kept_and_the_text_counts_what_is_planned(
    flow: list[Change], max_ids: int, max_actions: int
) -> None:
    limits = Limits(max_ids=max_ids, max_actions=max_actions)
    told = rehearse(list(enumerate(flow, start=1)), limits=limits)
    assert all(len(request.actions) <= max_actions for request in told.requests)
    assert sum(len(request.actions) for request in told.requests) == told.actions
    text = explain_plan(flow, limits=limits, order=catalogue_order)
    assert f"Plan: {told.actions} action" in text
    assert text.count("\n  request ") == len(told.requests)


def test_each_account_has_a_plan_of_its_own() -> None:
    here = Change(account="acme", action="create", type=TYPES[0], parents=(1,), children=(2,))
    there = Change(account="berg", action="delete", type=TYPES[0], parents=(1,), children=(2,))
    text = explain_plan([here, there])
    assert "1 message for account acme" in text
    assert "1 message for account berg" in text
    assert "superseded" not in text


@given(st.sets(st.integers(1, 60), min_size=1))
def test_runs_of_ids_say_every_id(numbers: set[int]) -> None:
    said: set[int] = set()
    for piece in ids(numbers, most=100).split():
        first, _, last = piece.partition("–")
        said |= set(range(int(first), int(last or first) + 1))
    assert said == numbers


def test_what_is_beyond_the_longest_list_is_counted() -> None:
    assert ids([1, 3, 5, 7, 8, 9], most=2) == "1 3 … and 4 more"
