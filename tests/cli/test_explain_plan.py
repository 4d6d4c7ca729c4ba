"""Laws of the dry run: it loses nothing, invents nothing, and ends where the latest changes point."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ops.explain import explain_plan
from ops.explain.dry_run import DEFAULT_POLICY, ChangesDryRun, dry_run_changes, number_messages
from ops.explain.text import format_ids
from worker.contract import Change, Relation
from worker.planner.actions import Request
from worker.planner.dry_run import DryRunPolicy
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


def dry_run(flow: list[Change], policy: DryRunPolicy = DEFAULT_POLICY) -> ChangesDryRun:
    return dry_run_changes(number_messages(flow), policy)


def carry_out(requests: list[Request]) -> dict[Relation, bool]:
    """Return whether each relation is present after the requests; modifies are left out."""
    presence: dict[Relation, bool] = {}
    for request in requests:
        presence |= {
            relation: action.kind == "create"
            for action in request.actions
            if action.kind != "modify"
            for relation in action.relations
        }
    return presence


@given(flows)
def test_every_target_is_reached_and_nothing_else_is_touched(flow: list[Change]) -> None:
    plan = dry_run(flow).plan
    touched = {relation for request in plan.requests for relation in request.relations()}
    assert touched == set(plan.states)
    assert carry_out(plan.requests) == {
        relation: state.target.presence
        for relation, state in plan.states.items()
        if state.target.presence is not None
    }


@given(flows)
def test_every_intent_either_has_a_target_or_lost_for_a_reason(flow: list[Change]) -> None:
    run = dry_run(flow)
    repeated = {repeat.name for repeat in run.repeats}
    intended = {
        (name, relation)
        for name, message in run.messages.items()
        if name not in repeated
        for relation in message.relations
    }
    targeted = {
        (intent.job, relation)
        for relation, state in run.plan.states.items()
        for intent in state.target.intents
    }
    lost = {(loser.intent.job, relation) for relation, loser in run.plan.lost}
    assert targeted | lost == intended
    assert not targeted & lost


@given(flows)
def test_the_first_half_of_a_swap_is_requested_before_the_second(flow: list[Change]) -> None:
    requests = dry_run(flow).plan.requests
    for first, name, side in (
        ("create", "estate:address:contactPerson", "parent"),
        ("delete", "estate:estateUnit", "child"),
    ):
        seconds: set[int] = set()
        for request in requests:
            same_type = [action for action in request.actions if action.type == name]
            assert not seconds & {
                getattr(relation, side)
                for action in same_type
                if action.kind == first
                for relation in action.relations
            }
            seconds |= {
                getattr(relation, side)
                for action in same_type
                if action.kind != first
                for relation in action.relations
            }


@given(flows, st.integers(1, 4), st.integers(1, 3))
def test_limits_are_kept_and_the_text_counts_what_is_planned(
    flow: list[Change], max_ids: int, max_actions: int
) -> None:
    policy = DEFAULT_POLICY._replace(limits=Limits(max_ids=max_ids, max_actions=max_actions))
    plan = dry_run(flow, policy).plan
    assert all(len(request.actions) <= max_actions for request in plan.requests)
    assert sum(len(request.actions) for request in plan.requests) == plan.actions
    text = explain_plan(flow, lambda _account: policy)
    assert f"Plan: {plan.actions} action" in text
    assert text.count("\n  request ") == len(plan.requests)


def test_each_account_has_a_plan_of_its_own() -> None:
    ours = Change(account="acme", action="create", type=TYPES[0], parents=(1,), children=(2,))
    theirs = Change(account="berg", action="delete", type=TYPES[0], parents=(1,), children=(2,))
    text = explain_plan([ours, theirs])
    assert "1 message for account acme" in text
    assert "1 message for account berg" in text
    assert "superseded" not in text


def test_each_account_is_planned_by_its_own_policy() -> None:
    change = Change(account="acme", action="create", type=TYPES[0], parents=(1,), children=(2, 3))
    small = DEFAULT_POLICY._replace(limits=Limits(max_ids=1, max_actions=1))
    policies = {"acme": DEFAULT_POLICY, "berg": small}
    text = explain_plan([change, structs.replace(change, account="berg")], policies.__getitem__)
    acme, berg = text.split("for account berg")
    assert "Plan: 1 action in 1 request;" in acme
    assert "Plan: 2 actions in 2 requests;" in berg


@given(st.sets(st.integers(1, 60), min_size=1))
def test_runs_of_ids_contain_every_id(numbers: set[int]) -> None:
    formatted: set[int] = set()
    for piece in format_ids(numbers, most=100).split():
        first, _, last = piece.partition("–")
        formatted |= set(range(int(first), int(last or first) + 1))
    assert formatted == numbers


def test_what_is_beyond_the_longest_list_is_counted() -> None:
    assert format_ids([1, 3, 5, 7, 8, 9], most=2) == "1 3 … and 4 more"
