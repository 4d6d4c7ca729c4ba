"""What would be sent for some intents, if the API took every action: fold → targets → rounds of requests.

Pure, and made of the parts that a flush is made of; nothing is sent and nothing is stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from worker.contract import Order, Relation
from worker.planner.actions import ActionResult, Operation, Reply, Request, Verdict
from worker.planner.apply_reply import ReplyContext, apply_reply
from worker.planner.fold import NOTHING, ConfirmedState, Intent, LostIntent
from worker.planner.plan import Limits, plan
from worker.planner.relation_state import Doubt, OpenRelation, RelationState, add_intents, next_operation
from worker.planner.retry_policy import RetryPolicy
from worker.planner.swaps import is_first_half, is_waiting_half, swap_key

Orders = Callable[[str], Order]
"""Which half of a swap goes first, by relation type."""

Record = tuple[OpenRelation | None, ConfirmedState, Doubt | None]
"""What is open, confirmed and in doubt about a relation now."""


@dataclass(slots=True)
class DryRun:
    """What each relation should be, which intents lost, and the requests in order; `least` as in a plan."""

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
    records: Mapping[Relation, Record],
    *,
    limits: Limits,
    order: Orders,
    upsert: bool = False,
) -> DryRun:
    """Fold the intents with what is open and confirmed, then plan and confirm them round by round."""
    result, states = DryRun(), dict[Relation, RelationState]()
    for relation, wanted in intents.items():
        before, confirmed, _ = records.get(relation, (None, NOTHING, None))
        state, lost, _ = add_intents(wanted, before, confirmed, None, now=0, upsert=upsert)
        result.lost += [(relation, intent) for intent in lost]
        if state:
            states[relation] = _without_delays(state)
    result.states = dict(states)
    context = ReplyContext(
        signed=0, answered=0, doubt=0.0, retry=RetryPolicy(upsert=upsert), draw=lambda: 0.0
    )
    while states and (operations := _next_operations(states, order)):
        planned = plan(operations, limits, order)
        result.actions, result.least = result.actions + planned.actions, result.least + planned.least
        for request in planned.requests:
            result.requests.append(request)
            _confirm(states, request, context)
    return result


def _without_delays(state: RelationState) -> RelationState:
    """Return the state without the delays and the splitting that earlier tries brought."""
    opened = OpenRelation(state.open.intents, state.open.cleared)
    return state if opened == state.open else RelationState(opened, state.confirmed, None, state.target)


def _next_operations(states: Mapping[Relation, RelationState], order: Orders) -> list[Operation]:
    """Return the next operation of every relation but the halves of swaps that have to wait (R12)."""
    first_halves = {
        swap_key(relation, order(relation.type))
        for relation, state in states.items()
        if is_first_half(state.target.presence, order(relation.type))
    }
    operations = []
    for relation, state in states.items():
        type_order = order(relation.type)
        waits = is_waiting_half(state.target.presence, type_order)
        if not (waits and swap_key(relation, type_order) in first_halves):
            operations.append(next_operation(relation, state, now=0))
    return [operation for operation in operations if isinstance(operation, Operation)]


def _confirm(states: dict[Relation, RelationState], request: Request, context: ReplyContext) -> None:
    results = (ActionResult(Verdict.OK),) * len(request.actions)
    for relation, state in apply_reply(states, request, Reply(results), context).states.items():
        if state:
            states[relation] = state
        else:
            del states[relation]
