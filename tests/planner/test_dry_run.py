"""What would be sent if the API took every action: it is all that is wanted, and nothing else."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planner.test_end_state import newest
from tests.support.planner_values import BURSTS, LATE_BURSTS, LINK, RELATIONS, intent
from worker.contract import Relation
from worker.planner.actions import Action
from worker.planner.dry_run import DryRun, DryRunPolicy, dry_run
from worker.planner.fold import Intent, LostIntent, confirm
from worker.planner.plan import Limits
from worker.planner.relation_state import Doubt, OpenRelation, RelationRecord, Stage, add_intents

BROKER, UNIT = "estate:address:contactPerson", "estate:estateUnit"
OLD, NEW = Relation(BROKER, 501, 42), Relation(BROKER, 501, 43)
LIMITS = Limits(max_ids=100, max_actions=50)
Burst = dict[Relation, list[Intent]]


def run(
    asked: dict[Relation, Iterable[Intent]] | Burst,
    records: dict[Relation, RelationRecord] | None = None,
    *,
    limits: Limits = LIMITS,
    upsert: bool = False,
) -> DryRun:
    policy = DryRunPolicy(
        limits,
        order=lambda _: "free",
        guarded=lambda name: "parent" if name == BROKER else "child" if name == UNIT else "",
        upsert=upsert,
    )
    return dry_run({relation: tuple(intents) for relation, intents in asked.items()}, records or {}, policy)


def actions(planned: DryRun) -> list[Action]:
    return [action for request in planned.requests for action in request.actions]


def kinds(planned: DryRun) -> list[list[tuple[str, tuple[Relation, ...]]]]:
    return [[(each.kind, tuple(each.relations)) for each in request.actions] for request in planned.requests]


@given(BURSTS, LATE_BURSTS, st.booleans(), st.sampled_from((1, 2, 50)))
def test_sending_it_makes_the_crm_as_the_newest_intents_want(
    burst: Burst, later: Burst, upsert: bool, most: int
) -> None:
    """What the first ones confirmed counts for the later ones, and is not sent again."""
    limits, there, info = (
        Limits(max_ids=most, max_actions=most),
        set[Relation](),
        dict[Relation, dict[str, str]](),
    )
    first = run(burst, limits=limits, upsert=upsert)
    second = run(later, remember(first), limits=limits, upsert=upsert)
    for planned in (first, second):
        for action in actions(planned):
            for relation in action.relations:  # of an API that takes every action
                if action.kind == "delete":
                    there.discard(relation)
                    info.pop(relation, None)
                elif action.kind == "create" or upsert:
                    there.add(relation)
                info[relation] = info.get(relation, {}) | dict(action.info)
            assert max(len(action.parents), len(action.children)) <= most
        assert all(1 <= len(request.actions) <= most for request in planned.requests)
        assert planned.least <= planned.actions == len(actions(planned))
    for relation in RELATIONS:
        is_there, wanted = newest([*burst[relation], *later[relation]], upsert=upsert)
        assert (relation in there) is is_there
        assert not is_there or wanted.items() <= info[relation].items()
    assert run(later, remember(first, second), upsert=upsert).requests == []


def remember(*planned: DryRun) -> dict[Relation, RelationRecord]:
    """Return what is confirmed once everything was applied."""
    return {
        relation: RelationRecord(
            confirmed=confirm(state.target, state.confirmed, [key for key, _, _ in state.target.info])
        )
        for each in planned
        for relation, state in each.states.items()
    }


@given(BURSTS, st.booleans())
def test_each_intent_is_behind_what_is_sent_or_has_lost(burst: Burst, upsert: bool) -> None:
    planned = run(burst, upsert=upsert)
    for relation, intents in burst.items():
        state = planned.states.get(relation)
        lost = [each.intent for where, each in planned.lost if where == relation]
        assert sorted([*(state.target.intents if state else ()), *lost]) == sorted(intents)


def test_delays_doubts_and_earlier_failures_count_for_nothing() -> None:
    asked = intent(1, "create")
    tried = OpenRelation(
        (asked,), since=5, not_before=10**18, rejections=3, lost_writes=1, stage=Stage.READ_BACK, part="1/0"
    )
    record = RelationRecord(tried, doubt=Doubt(10**18, "delete"))
    assert run({LINK: ()}, {LINK: record}).requests == run({LINK: [asked]}).requests
    # Even then it knows which of the open intents a new one beats.
    lost = LostIntent(asked, "superseded", "a9")
    assert run({LINK: [intent(9, "delete")]}, {LINK: record}).lost == [(LINK, lost)]


def test_a_delete_that_was_folded_away_before_still_counts() -> None:
    state, _, _ = add_intents(
        (intent(1, "delete"), intent(2, "create")),
        None,
        RelationRecord().confirmed,
        None,
        now=0,
        upsert=False,
    )
    assert state
    late = Intent(intent(0, "create").version, "late", "create", (("statusTerminbestaetigung", "old"),))
    planned = run({LINK: [late]}, {LINK: RelationRecord(state.open)})
    assert kinds(planned) == [[("create", (LINK,))]]
    assert [(each.intent, each.result, each.by) for _, each in planned.lost] == [(late, "superseded", "a2")]


def test_info_follows_its_create() -> None:
    planned = run({LINK: [intent(1, "create"), intent(2, "modify", rueckmeldung="aktiv")]})
    assert kinds(planned) == [[("create", (LINK,))], [("modify", (LINK,))]]


def test_a_broker_goes_once_the_next_one_is_there_and_nothing_is_read() -> None:
    planned = run({OLD: [intent(1, "delete")], NEW: [intent(2, "create")]})
    assert kinds(planned) == [[("create", (NEW,))], [("delete", (OLD,))]]


@pytest.mark.parametrize(
    ("relation", "asked", "side"),
    [(OLD, intent(1, "delete"), "parent"), (Relation(UNIT, 1, 70), intent(1, "create"), "child")],
)
def test_what_the_guard_reads_is_among_the_requests_and_then_allows_it(
    relation: Relation, asked: Intent, side: str
) -> None:
    planned = run({relation: [asked]})
    read, write = planned.requests
    (get,) = read.actions
    assert (get.kind, get.parents or get.children) == (
        "get",
        (relation.parent if side == "parent" else relation.child,),
    )
    assert [(each.kind, tuple(each.relations)) for each in write.actions] == [(asked.action, (relation,))]


def test_nothing_asked_is_nothing_sent() -> None:
    assert run({}) == DryRun()


def test_what_is_planned_for_batches_adds_up() -> None:
    first, second = run({OLD: [intent(1, "create")]}), run({LINK: [intent(3, "create"), intent(1, "delete")]})
    both = DryRun()
    both += first
    both += second
    assert both.states == {**first.states, **second.states}
    assert both.requests == [*first.requests, *second.requests]
    assert both.lost == [*first.lost, *second.lost] != []
    assert (both.actions, both.least) == (2, 2)
