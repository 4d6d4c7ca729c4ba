"""What the reply to one request changes: what is left to do for its relations, and which intents are settled.

Pure. `retry_policy.py` decides; here each decision becomes the effect on one relation, intent by intent (R9,
R10).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Action, ActionResult, ErrorClass, Reply, Request, Verdict
from worker.planner.fold import ConfirmedState, Result
from worker.planner.relation_state import (
    CREATE_KEYS,
    Doubt,
    Refusal,
    RelationRecord,
    RelationState,
    Stage,
    confirm_write,
    drop_newest_intent,
)
from worker.planner.retry_policy import (
    Decision,
    NextStep,
    RetryPolicy,
    decide,
    decide_after_read,
    retry_or_fail,
    split_part,
)

UNANSWERED = Refusal(0, "unknown", "no definite answer")
UNREADABLE = ActionResult(
    Verdict.UNKNOWN, error=ErrorClass.TRANSIENT, message="the answer to the read cannot be read"
)
SENDER_DIED = ActionResult(
    Verdict.UNKNOWN, message="the worker that sent it died before the answer was recorded"
)


class RelationOutcome(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one (job, relation); `by` is the job that superseded it or that it is stale against."""

    job: str
    relation: Relation
    result: Result
    by: str = ""
    refusal: Refusal | None = None

    @property
    def names_no_record(self) -> bool:
        """Whether the API says that it does not know a record of the relation (any more)."""
        return self.refusal is not None and self.refusal.error == ErrorClass.RECORD


Confirmed = tuple[ConfirmedState, Doubt | None]
"""What is confirmed and what is in doubt about a relation."""


class RelationEffect(msgspec.Struct, frozen=True, gc=False):
    """What a step changes about one relation: its state (None: closed), what is confirmed now, outcomes."""

    state: RelationState | None
    confirmed: Confirmed | None = None
    outcomes: tuple[RelationOutcome, ...] = ()


@dataclass(slots=True)
class Effects:
    """What a step changes about many relations."""

    states: dict[Relation, RelationState | None] = field(default_factory=dict)
    confirmed: dict[Relation, Confirmed] = field(default_factory=dict)
    outcomes: list[RelationOutcome] = field(default_factory=list)

    def add(self, relation: Relation, effect: RelationEffect) -> None:
        """Add the effect on one relation."""
        self.states[relation] = effect.state
        if effect.confirmed:
            self.confirmed[relation] = effect.confirmed
        self.outcomes += effect.outcomes

    def extend(self, later: "Effects") -> None:
        """Let later effects follow these."""
        self.states |= later.states
        self.confirmed |= later.confirmed
        self.outcomes += later.outcomes

    def closed(self, records: Mapping[Relation, RelationRecord]) -> dict[Relation, RelationRecord]:
        """Return the records of the relations that these close, as they are then."""
        closed = {}
        for relation in (each for each, state in self.states.items() if state is None):
            before = records[relation]
            confirmed, doubt = self.confirmed.get(relation, (before.confirmed, before.doubt))
            closed[relation] = RelationRecord(None, confirmed, doubt)
        return closed


class ReplyContext(NamedTuple):
    """What a reply is judged by.

    When the request was signed and answered (µs), for how many seconds a lost one may still land, the retry
    policy, the source of random numbers from [0, 1), and whether that it was lost is `to_blame` on the
    relations in it (R24).
    """

    signed: int
    answered: int
    doubt: float
    retry: RetryPolicy
    draw: Callable[[], float]
    to_blame: bool = False


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """The answer to one action of a request, as each of its relations needs it."""

    action: Action
    result: ActionResult
    relations: tuple[Relation, ...]
    confirmed_keys: frozenset[str]  # of info, if it is ok
    rejected: set[str]  # the parts of the rejected actions of its request

    @property
    def alone(self) -> bool:
        """Whether it says of each of its relations apart what became of it."""
        return self.action.kind == "get" or len(self.relations) == 1

    @property
    def sibling_failed(self) -> bool:
        """Whether the other half of the star that it was split from was rejected, too."""
        return _sibling(self.action.part) in self.rejected


def apply_reply(
    states: Mapping[Relation, RelationState], request: Request, reply: Reply, context: ReplyContext
) -> Effects:
    """Return the effects of a reply on the relations of its request."""
    effects, answers = Effects(), list(zip(request.actions, reply.results, strict=True))
    rejected = {action.part for action, result in answers if result.verdict is Verdict.REJECTED}
    for (action, result), relations in zip(answers, request.relations_by_action, strict=True):
        answer = _Answer(action, result, relations, _confirmed_keys(action), rejected)
        apply = _apply_read if action.kind == "get" else _apply_write
        for position, relation in enumerate(relations):
            # One without a state was settled before: a worker died when it had written a part of it.
            state = states.get(relation)
            if state and (effect := apply(answer, position, state, context)):
                effects.add(relation, effect)
    return effects


def apply_lost_request(
    states: Mapping[Relation, RelationState], request: Request, context: ReplyContext
) -> Effects:
    """Return the effects of a request whose sender died: every write of it is in doubt (R14).

    Nothing is delayed: its relations come next, in the same order, so that what kills can be found (R21).
    """
    at_once = context._replace(retry=context.retry._replace(backoff=(0.0, 0.0)))
    return apply_reply(states, request, Reply((SENDER_DIED,) * len(request.actions)), at_once)


def fail_relation(
    relation: Relation, state: RelationState, refusal: Refusal, *, upsert: bool
) -> RelationEffect:
    """Fail all intents; or, once, only the newest of several, if the others ask for something else (R9)."""
    reduced = drop_newest_intent(state, upsert=upsert)
    failed = state.open.intents[-1:] if reduced else state.open.intents
    outcomes = [RelationOutcome(intent.job, relation, "failed", refusal=refusal) for intent in failed]
    # The doubt stays on record: whatever comes next has to know what may still land.
    confirmed = (state.confirmed, state.doubt) if state.doubt else None
    return RelationEffect(reduced, confirmed, tuple(outcomes))


def _apply_read(
    answer: _Answer, position: int, state: RelationState, context: ReplyContext
) -> RelationEffect | None:
    relation, opened = answer.relations[position], state.open
    rejected = opened.stage is Stage.READ_REJECTED
    if rejected and _is_unreadable(answer, relation):
        answer = msgspec.structs.replace(answer, result=UNREADABLE)
    result = answer.result
    if result.verdict in (Verdict.UNKNOWN, Verdict.NOT_SENT):
        decision = _decide(answer, state, context)
        # A lost read must not hide the rejection that the next read decides about.
        refusal = (opened.refusal if rejected else None) or _refusal(result)
        return _carry_out(relation, _unanswered(state, context), decision, refusal, context)
    if result.error in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK):
        return None
    seen = is_seen(answer.action, relation, result)
    if seen is None and rejected and result.verdict is not Verdict.OK:
        # A read that was rejected itself shows nothing, so the rejection of the write decides.
        decision = retry_or_fail(opened, context.retry, context.draw())
    else:
        decision = decide_after_read(state, seen, retry=context.retry, draw=context.draw())
    if decision.step is NextStep.CONFIRM:
        return _confirm(relation, state, frozenset(), context)
    absent = state.target.presence is True and seen is False
    answered = state.with_progress(stage=Stage.WRITE_ABSENT if absent else Stage.WRITE, failures=0)
    return _carry_out(relation, answered, decision, opened.refusal or UNANSWERED, context)


def _apply_write(
    answer: _Answer, position: int, state: RelationState, context: ReplyContext
) -> RelationEffect | None:
    action, result, relation = answer.action, answer.result, answer.relations[position]
    if result.verdict is Verdict.OK:  # nearly always, and there is nothing to weigh
        return _confirm(relation, state, answer.confirmed_keys, context)
    decision = _decide(answer, state, context)
    if result.verdict is Verdict.UNKNOWN:
        state = _in_doubt(state, action, context)
    elif result.verdict is Verdict.NOT_SENT:
        state = _unanswered(state, context)
    elif state.open.suspicion:
        state = state.with_progress(suspicion=0)
    if decision.step is NextStep.SPLIT:
        whole, size = action.part or f"{answer.relations[0]}/", len(answer.relations)
        part = split_part(whole, position, size, sibling_failed=answer.sibling_failed)
        stage = Stage.WRITE if action.kind == "modify" else Stage.READ_BACK
        state = state.with_progress(part=part, stage=stage)
    effect = _carry_out(relation, state, decision, _refusal(result), context)
    if effect and result.verdict is Verdict.UNKNOWN:
        return RelationEffect(effect.state, (state.confirmed, state.doubt), effect.outcomes)
    return effect


def _decide(answer: _Answer, state: RelationState, context: ReplyContext) -> Decision:
    return decide(
        answer.action.kind,
        answer.result,
        state.open,
        alone=answer.alone,
        retry=context.retry,
        now=context.answered,
        draw=context.draw(),
    )


def is_seen(action: Action, relation: Relation, result: ActionResult) -> bool | None:
    """Return whether the answer shows the relation; None, if the id is not in it, proves nothing (R15)."""
    asked, other = _asked_and_other(action, relation)
    related = result.related.get(asked)
    return None if related is None else other in related


def _is_unreadable(answer: _Answer, relation: Relation) -> bool:
    """Return whether nothing can be read of the record that was asked about; it may also be left out."""
    return _asked_and_other(answer.action, relation)[0] in answer.result.unreadable


def _asked_and_other(action: Action, relation: Relation) -> tuple[int, int]:
    """Return the id of the relation by which a read asks, and the one that it asks for."""
    by_parent = bool(action.parents)
    return (relation.parent, relation.child) if by_parent else (relation.child, relation.parent)


def _in_doubt(state: RelationState, action: Action, context: ReplyContext) -> RelationState:
    """Return the state with its write in doubt: it may still land, as may info of an earlier one (R14)."""
    earlier = state.doubt.info if state.doubt and state.doubt.until > context.signed else ()
    info = tuple(sorted(dict((*earlier, *action.info)).items()))
    doubt = Doubt(context.signed + round(context.doubt * SECOND), action.kind, info)
    lost = _unanswered(state, context).with_progress(lost_writes=state.open.lost_writes + 1)
    return RelationState(lost.open, state.confirmed, doubt, state.target)


def _unanswered(state: RelationState, context: ReplyContext) -> RelationState:
    opened = state.open
    return state.with_progress(failures=opened.failures + 1, suspicion=opened.suspicion + context.to_blame)


def _confirmed_keys(action: Action) -> frozenset[str]:
    if not action.info:
        return frozenset()
    keys = frozenset(key for key, _ in action.info)
    return keys & CREATE_KEYS if action.kind == "create" else keys


def _confirm(
    relation: Relation, state: RelationState, keys: frozenset[str], context: ReplyContext
) -> RelationEffect:
    left, applied, confirmed = confirm_write(state, keys, upsert=context.retry.upsert)
    outcomes = tuple([RelationOutcome(intent.job, relation, "applied") for intent in applied])
    return RelationEffect(left, (confirmed, state.doubt), outcomes)


def _carry_out(
    relation: Relation, state: RelationState, decision: Decision, refusal: Refusal, context: ReplyContext
) -> RelationEffect | None:
    """Return the effect of every decision but to confirm; None if nothing changes."""
    progress: dict[str, Any] = {"refusal": refusal}
    match decision.step:
        case NextStep.KEEP:
            return None
        case NextStep.FAIL:
            return fail_relation(relation, state, refusal, upsert=context.retry.upsert)
        case NextStep.READ_REJECTED:
            progress["stage"] = Stage.READ_REJECTED
        case NextStep.READ_BACK if not state.open.stage.reads:
            progress["stage"] = Stage.READ_BACK
        case NextStep.CREATE:
            progress["stage"] = Stage.WRITE_ABSENT
        case NextStep.RETRY:
            rejections = state.open.rejections + 1
            progress |= {"rejections": rejections, "lost_writes": 0, "failures": 0, "stage": Stage.WRITE}
    if decision.delay:
        progress["not_before"] = context.answered + round(decision.delay * SECOND)
    return RelationEffect(state.with_progress(**progress))


def _refusal(result: ActionResult) -> Refusal:
    error = result.error.value if result.verdict is Verdict.REJECTED else result.verdict.value
    return Refusal(result.code, error, result.message)


def _sibling(part: str) -> str:
    """Return the part of the other half of a split star; no part is called "-"."""
    return part[:-1] + {"0": "1", "1": "0"}.get(part[-1:], "-") if part else "-"
