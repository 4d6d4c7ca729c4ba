"""Rounds of plan → answer → plan without any I/O: a CRM that is a dict, and the loop a flush runs, with its clock in its hand."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from worker.contract import Order, Relation
from worker.planner.actions import Action, ActionResult, ErrorClass, Operation, Reply, Request, Verdict
from worker.planner.apply_reply import Effects, RelationOutcome, ReplyContext, answer
from worker.planner.fold import NOTHING, ConfirmedState, Intent
from worker.planner.plan import Limits, plan
from worker.planner.relation_state import Doubt, RelationState, Wait, add_intents, step
from worker.planner.retry_policy import SECOND, RetryPolicy

DOUBT = 150.0
OK = ActionResult(Verdict.OK)
LOST = ActionResult(Verdict.UNKNOWN, message="timeout")


def refused(error: ErrorClass, code: int = 1) -> ActionResult:
    return ActionResult(Verdict.REJECTED, code, error, f"refused as {error.value}")


class Crm:
    """Relations with their info. A write that meets one of `bad` is refused, having done nothing or, not `atomic`, all the rest."""

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
        return (
            refused(ErrorClass.ABSENT if action.kind == "modify" else ErrorClass.AMBIGUOUS) if missing else OK
        )

    def write(self, action: Action, relation: Relation) -> None:
        if action.kind == "delete":
            self.relations.pop(relation, None)
        elif action.kind == "create":
            self.relations.setdefault(relation, dict(action.info))  # one that is there keeps its info
        elif relation in self.relations:
            self.relations[relation] |= dict(action.info)

    def _related(self, action: Action) -> Mapping[int, frozenset[int]]:
        """By asked id; an id without relations may be left out, as `keys` says."""
        found: dict[int, set[int]] = (
            {each: set() for each in action.parents or action.children} if self.keys else {}
        )
        for _, parent, child in (each for each in self.relations if each.type == action.type):
            asked, other = (parent, child) if action.parents else (child, parent)
            if asked in (action.parents or action.children):
                found.setdefault(asked, set()).add(other)
        return {each: frozenset(others) for each, others in found.items()}


@dataclass
class Desk:
    """Open relations in one hand, the requests sent for them, and every outcome that fell."""

    send: Callable[[Action], ActionResult]
    patience: RetryPolicy = field(default_factory=RetryPolicy)
    limits: Limits = field(default_factory=lambda: Limits(max_ids=1000, max_actions=50))
    order: Order = "free"
    draw: float = 0.5
    now: int = 0
    cases: dict[Relation, RelationState] = field(default_factory=dict)
    known: dict[Relation, tuple[ConfirmedState, Doubt | None]] = field(default_factory=dict)
    settled: list[RelationOutcome] = field(default_factory=list)
    sent: list[Request] = field(default_factory=list)
    rounds: int = 0

    def add_intents(self, intents: Mapping[Relation, Iterable[Intent]]) -> None:
        for relation, asked in intents.items():
            held = self.cases.get(relation)
            known, doubt = (held.confirmed, held.doubt) if held else self.known.get(relation, (NOTHING, None))
            case, lost, memory = add_intents(
                tuple(asked),
                held.open if held else None,
                known,
                doubt,
                now=self.now,
                upsert=self.patience.upsert,
            )
            outcomes = [RelationOutcome(each.intent.job, relation, each.result, each.by) for each in lost]
            self.hold(Effects({relation: case}, {relation: (memory, doubt)}, outcomes))

    def hold(self, effects: Effects) -> None:
        self.known |= effects.confirmed
        self.settled += effects.outcomes
        for relation, case in effects.states.items():
            if case:
                self.cases[relation] = case
            else:
                self.cases.pop(relation, None)

    def wanted(self) -> list[Operation]:
        """What is wanted at the next moment at which anything is; the clock is moved there."""
        todo = [step(relation, case, now=self.now) for relation, case in self.cases.items()]
        waits = [each.until for each in todo if isinstance(each, Wait)]
        if len(waits) == len(todo) and waits:
            self.now = min(waits)
            return self.wanted()
        return [each for each in todo if isinstance(each, Operation)]

    def round(self) -> None:
        self.rounds += 1
        for request in plan(self.wanted(), self.limits, lambda _: self.order).requests:
            self.request(request)

    def request(self, request: Request) -> None:
        self.sent.append(request)
        signed, self.now = self.now, self.now + SECOND
        reply = Reply(tuple(self.send(action) for action in request.actions))
        self.hold(
            answer(
                self.cases,
                request,
                reply,
                ReplyContext(signed, self.now, DOUBT, self.patience, lambda: self.draw),
            )
        )

    def work(self, most: int = 1000) -> None:
        """Rounds until nothing is open; so many at most."""
        while self.cases and most:
            self.round()
            most -= 1

    def results(self, relation: Relation) -> dict[str, str]:
        return {each.job: each.result for each in self.settled if each.relation == relation}

    def actions(self) -> list[Action]:
        return [action for request in self.sent for action in request.actions]
