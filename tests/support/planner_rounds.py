"""Rounds of plan → reply → plan without any I/O: the loop that a flush runs, with a dict for a CRM."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from worker.contract import Order, Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Action, ActionResult, ErrorClass, Operation, Reply, Request, Verdict
from worker.planner.apply_reply import Effects, RelationOutcome, ReplyContext, apply_reply
from worker.planner.fold import NOTHING, ConfirmedState, Intent
from worker.planner.plan import Limits, plan
from worker.planner.relation_state import Doubt, RelationState, Wait, add_intents, next_operation
from worker.planner.retry_policy import RetryPolicy

DOUBT = 150.0
OK = ActionResult(Verdict.OK)
LOST = ActionResult(Verdict.UNKNOWN, message="timeout")


def refused(error: ErrorClass, code: int = 1) -> ActionResult:
    return ActionResult(Verdict.REJECTED, code, error, f"refused as {error.value}")


class Crm:
    """Relations with their info. A write of a `bad` one is rejected; unless `atomic`, the rest is done."""

    def __init__(
        self,
        *,
        bad: Iterable[Relation] = (),
        atomic: bool = True,
        error: ErrorClass = ErrorClass.RECORD,
        keys: bool = True,
    ) -> None:
        self.bad, self.atomic, self.error, self.keys = frozenset(bad), atomic, error, keys
        self.relations: dict[Relation, dict[str, str]] = {}

    def answer(self, action: Action) -> ActionResult:
        if action.kind == "get":
            return ActionResult(Verdict.OK, related=self._related(action))
        wrong = self.bad.intersection(action.relations)
        missing = action.kind != "create" and not set(action.relations) <= self.relations.keys()
        if not wrong or not self.atomic:
            for relation in action.relations:
                if relation not in wrong:
                    self.write(action, relation)
        if wrong:
            return refused(self.error)
        if missing:
            return refused(ErrorClass.ABSENT if action.kind == "modify" else ErrorClass.AMBIGUOUS)
        return OK

    def write(self, action: Action, relation: Relation) -> None:
        if action.kind == "delete":
            self.relations.pop(relation, None)
        elif action.kind == "create":
            self.relations.setdefault(relation, dict(action.info))  # one that is there keeps its info
        elif relation in self.relations:
            self.relations[relation] |= dict(action.info)

    def _related(self, action: Action) -> Mapping[int, frozenset[int]]:
        """Return the related ids by id asked about; whether one without relations is in it, `keys` says."""
        ids = action.parents or action.children
        found: dict[int, set[int]] = {record: set() for record in ids} if self.keys else {}
        for relation_type, parent, child in self.relations:
            asked, other = (parent, child) if action.parents else (child, parent)
            if relation_type == action.type and asked in ids:
                found.setdefault(asked, set()).add(other)
        return {record: frozenset(others) for record, others in found.items()}


@dataclass
class FlushLoop:
    """The relations of one batch, the requests sent for them, and every outcome so far."""

    send: Callable[[Action], ActionResult]
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: Limits = field(default_factory=lambda: Limits(max_ids=1000, max_actions=50))
    order: Order = "free"
    draw: float = 0.5
    now: int = 0
    states: dict[Relation, RelationState] = field(default_factory=dict)
    confirmed: dict[Relation, tuple[ConfirmedState, Doubt | None]] = field(default_factory=dict)
    outcomes: list[RelationOutcome] = field(default_factory=list)
    sent: list[Request] = field(default_factory=list)
    rounds: int = 0

    def add_intents(self, intents: Mapping[Relation, Iterable[Intent]]) -> None:
        for relation, added in intents.items():
            state = self.states.get(relation)
            confirmed, doubt = self.confirmed.get(relation, (NOTHING, None))
            if state:
                confirmed, doubt = state.confirmed, state.doubt
            before = state.open if state else None
            changed, lost, confirmed = add_intents(
                tuple(added), before, confirmed, doubt, now=self.now, upsert=self.retry.upsert
            )
            outcomes = [RelationOutcome(entry.intent.job, relation, entry.result, entry.by) for entry in lost]
            self.apply(Effects({relation: changed}, {relation: (confirmed, doubt)}, outcomes))

    def apply(self, effects: Effects) -> None:
        self.confirmed |= effects.confirmed
        self.outcomes += effects.outcomes
        for relation, state in effects.states.items():
            if state:
                self.states[relation] = state
            else:
                self.states.pop(relation, None)

    def next_operations(self) -> list[Operation]:
        """Return what is to be done when anything next is; the clock is moved there."""
        wanted = [next_operation(relation, state, now=self.now) for relation, state in self.states.items()]
        waits = [operation.until for operation in wanted if isinstance(operation, Wait)]
        if len(waits) == len(wanted) and waits:
            self.now = min(waits)
            return self.next_operations()
        return [operation for operation in wanted if isinstance(operation, Operation)]

    def run_round(self) -> None:
        self.rounds += 1
        for request in plan(self.next_operations(), self.limits, lambda _: self.order).requests:
            self.send_request(request)

    def send_request(self, request: Request) -> None:
        self.sent.append(request)
        signed, self.now = self.now, self.now + SECOND
        reply = Reply(tuple(self.send(action) for action in request.actions))
        context = ReplyContext(signed, self.now, DOUBT, self.retry, lambda: self.draw)
        self.apply(apply_reply(self.states, request, reply, context))

    def run(self, most: int = 1000) -> None:
        """Run rounds until nothing is open, at most so many."""
        while self.states and most:
            self.run_round()
            most -= 1

    def results(self, relation: Relation) -> dict[str, str]:
        return {outcome.job: outcome.result for outcome in self.outcomes if outcome.relation == relation}

    def actions(self) -> list[Action]:
        return [action for request in self.sent for action in request.actions]
