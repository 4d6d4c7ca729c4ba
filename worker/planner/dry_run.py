"""What would be sent for some intents, if the API took every action: fold → targets → rounds of requests.

Pure, and made of the parts that a flush is made of; nothing is sent and nothing is stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from worker.contract import Order, Relation
from worker.planner.actions import ActionResult, Operation, Reply, Request, Verdict
from worker.planner.apply_reply import ReplyContext, apply_reply
from worker.planner.fold import Intent, LostIntent
from worker.planner.guard import Guard, Guarded
from worker.planner.plan import Limits, plan
from worker.planner.relation_state import (
    OpenRelation,
    RelationRecord,
    RelationState,
    add_intents,
    next_operation,
)
from worker.planner.retry_policy import RetryPolicy

Orders = Callable[[str], Order]
"""Which half of a swap goes first, by relation type."""


class DryRunPolicy(NamedTuple):
    """How an account's changes are planned.

    `order` says which half of a type's swaps goes first, `guarded` which record a type guards, `upsert` lets
    a modify create. Jobs are taken in batches of `max_batch`, as flushes take them; 0 takes all at once.
    """

    limits: Limits
    order: Orders
    guarded: Guarded
    upsert: bool = False
    max_batch: int = 0


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
    records: Mapping[Relation, RelationRecord],
    policy: DryRunPolicy,
) -> DryRun:
    """Fold the intents with what is open and confirmed, then plan and confirm them round by round.

    What the guard reads is among the requests, and allows what it was read for (R12).
    """
    result, states, guard = DryRun(), dict[Relation, RelationState](), Guard(policy.guarded)
    for relation, wanted in intents.items():
        known = records.get(relation, RelationRecord())
        state, lost, _ = add_intents(wanted, known.open, known.confirmed, None, now=0, upsert=policy.upsert)
        result.lost += [(relation, intent) for intent in lost]
        if state:
            states[relation] = _without_delays(state)
    result.states = dict(states)
    context = ReplyContext(
        signed=0, answered=0, doubt=0.0, retry=RetryPolicy(upsert=policy.upsert), draw=lambda: 0.0
    )
    while states and (operations := _next_operations(states, guard)):
        planned = plan(operations, policy.limits, policy.order)
        result.actions, result.least = result.actions + planned.actions, result.least + planned.least
        for request in planned.requests:
            result.requests.append(request)
            _confirm(states, request, context, guard)
    return result


def _without_delays(state: RelationState) -> RelationState:
    """Return the state without the delays and the splitting that earlier tries brought."""
    opened = OpenRelation(state.open.intents, state.open.cleared)
    return state if opened == state.open else RelationState(opened, state.confirmed, None, state.target)


def _next_operations(states: Mapping[Relation, RelationState], guard: Guard) -> list[Operation]:
    """Return the next operation of every relation, but of those for which another has to make way (R12)."""
    operations = [next_operation(relation, state, now=0) for relation, state in states.items()]
    screened = guard.screen([each for each in operations if isinstance(each, Operation)], states)
    return screened.free + screened.undecided


def _confirm(
    states: dict[Relation, RelationState], request: Request, context: ReplyContext, guard: Guard
) -> None:
    reply = Reply((ActionResult(Verdict.OK),) * len(request.actions))
    effects = apply_reply(states, request, reply, context)
    guard.note_reply(request, reply)
    guard.note_effects(effects, states)
    for relation, state in effects.states.items():
        if state:
            states[relation] = state
        else:
            del states[relation]
