"""What would be sent for a number of wishes, if the API took every action: fold → targets → rounds of actions and requests.

Pure, and made of the parts that a flush is made of; nothing is sent and nothing is stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from worker.contract import Order, Relation
from worker.planner.actions import ActionResult, Operation, Reply, Request, Verdict
from worker.planner.apply_reply import ReplyContext, answer
from worker.planner.fold import NOTHING, ConfirmedState, Intent, LostIntent
from worker.planner.plan import Limits, plan
from worker.planner.relation_state import Doubt, OpenRelation, RelationState, add_intents, step
from worker.planner.retry_policy import RetryPolicy
from worker.planner.swaps import is_first_half, is_waiting_half, swap_key

ALL_WELL = ReplyContext(signed=0, answered=0, doubt=0.0, retry=RetryPolicy(), draw=lambda: 0.0)

Orders = Callable[[str], Order]
State = tuple[OpenRelation | None, ConfirmedState, Doubt | None]
"""What is open and known of a relation now, and what is in doubt."""


@dataclass(slots=True)
class DryRun:
    """What each relation should be, which wishes lost, and the requests in order; `least` as in a plan."""

    states: Mapping[Relation, RelationState] = field(default_factory=dict)
    lost: list[tuple[Relation, LostIntent]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    actions: int = 0
    least: int = 0

    def __iadd__(self, other: "DryRun") -> Self:
        self.states = {**self.states, **other.states}
        self.lost += other.lost
        self.requests += other.requests
        self.actions, self.least = self.actions + other.actions, self.least + other.least
        return self


def dry_run(
    intents: Mapping[Relation, tuple[Intent, ...]],
    known: Mapping[Relation, State],
    *,
    limits: Limits,
    order: Orders,
    upsert: bool = False,
) -> DryRun:
    """The wishes taken in one window, folded with what is open and known, then planned and confirmed round by round."""
    told, cases = DryRun(), dict[Relation, RelationState]()
    for relation, asked in intents.items():
        before, memory, _ = known.get(relation, (None, NOTHING, None))
        case, lost, _ = add_intents(asked, before, memory, None, now=0, upsert=upsert)
        told.lost += [(relation, each) for each in lost]
        if case:
            cases[relation] = _afresh(case)
    told.states = dict(cases)
    context = ALL_WELL._replace(retry=RetryPolicy(upsert=upsert)) if upsert else ALL_WELL
    while cases and (ready := _ready(cases, order)):
        planned = plan(ready, limits, order)
        told.actions, told.least = told.actions + planned.actions, told.least + planned.least
        for request in planned.requests:
            told.requests.append(request)
            _confirm(cases, request, context)
    return told


def _afresh(case: RelationState) -> RelationState:
    """The case without the waiting that earlier tries have brought it: all is well now."""
    opened = OpenRelation(case.open.intents, case.open.cleared)
    return case if opened == case.open else RelationState(opened, case.confirmed, None, case.target)


def _ready(cases: Mapping[Relation, RelationState], order: Orders) -> list[Operation]:
    """The next operation of every relation but the halves of swaps that have to wait (R12)."""
    first = {
        swap_key(relation, each)
        for relation, case in cases.items()
        if is_first_half(case.target.presence, each := order(relation.type))
    }
    steps = [
        step(relation, case, now=0)
        for relation, case in cases.items()
        if not (
            is_waiting_half(case.target.presence, each := order(relation.type))
            and swap_key(relation, each) in first
        )
    ]
    return [each for each in steps if isinstance(each, Operation)]


def _confirm(cases: dict[Relation, RelationState], request: Request, context: ReplyContext) -> None:
    outcomes = (ActionResult(Verdict.OK),) * len(request.actions)
    for relation, case in answer(cases, request, Reply(outcomes), context).states.items():
        if case:
            cases[relation] = case
        else:
            del cases[relation]
