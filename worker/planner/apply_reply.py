"""What the answer to one request changes: for each of its relations what is left to do, and which wishes got their outcome.

Pure. The decisions are `retry.py`'s; here they are applied, contributor by contributor (R9, R10).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from worker.contract import Relation
from worker.planner.actions import Action, ActionResult, ErrorClass, Reply, Request, Verdict
from worker.planner.fold import ConfirmedState, Result
from worker.planner.relation_state import (
    CREATE_KEYS,
    Doubt,
    OpenRelation,
    Refusal,
    RelationState,
    advance,
    reopen,
)
from worker.planner.retry_policy import SECOND, Decision, NextStep, RetryPolicy, again, decide, halves, judge

replace = msgspec.structs.replace
UNANSWERED = Refusal(0, "unknown", "no definite answer")


class RelationOutcome(NamedTuple):
    """One outcome of one (job, relation); `by` names the job that superseded it or that it is stale against."""

    job: str
    relation: Relation
    result: Result
    by: str = ""
    refusal: Refusal | None = None


@dataclass(slots=True)
class Effects:
    """What a step changes: cases (None: closed), the memories that moved, the outcomes that fell."""

    states: dict[Relation, RelationState | None] = field(default_factory=dict)
    confirmed: dict[Relation, tuple[ConfirmedState, Doubt | None]] = field(default_factory=dict)
    outcomes: list[RelationOutcome] = field(default_factory=list)

    def add(self, later: "Effects") -> None:
        """Let later effects follow these."""
        self.states |= later.states
        self.confirmed |= later.confirmed
        self.outcomes += later.outcomes


class ReplyContext(NamedTuple):
    """When a request was signed and answered (µs), how long a lost one may still land (seconds), and the policies."""

    signed: int
    answered: int
    doubt: float
    retry: RetryPolicy
    draw: Callable[[], float]


def answer(
    cases: Mapping[Relation, RelationState], request: Request, reply: Reply, context: ReplyContext
) -> Effects:
    """The effects of a reply on the relations of its request."""
    effects = Effects()
    failed = {
        action.part
        for action, outcome in zip(request.actions, reply.results, strict=True)
        if outcome.verdict is Verdict.REJECTED
    }
    for action, outcome in zip(request.actions, reply.results, strict=True):
        if action.kind == "get":
            _read(cases, action, outcome, context, effects)
        else:
            _written(cases, action, outcome, context, effects, sibling_failed=_sibling(action.part) in failed)
    return effects


def lose(cases: Mapping[Relation, RelationState], request: Request, context: ReplyContext) -> Effects:
    """The effects of a request whose sender died: every write of it is in doubt (R14).

    Nothing is put off: whom it was about comes next again, in the same order, so that what kills can be found (R21).
    """
    context = context._replace(retry=context.retry._replace(backoff=(0.0, 0.0)))
    silence = ActionResult(
        Verdict.UNKNOWN, message="the worker that sent it died before the answer was recorded"
    )
    return answer(cases, request, Reply((silence,) * len(request.actions)), context)


def fail(
    relation: Relation, case: RelationState, refusal: Refusal, effects: Effects, *, upsert: bool
) -> None:
    """End the case: its wishes fail, unless a merged one may be tried once more without its newest wish (R9)."""
    rest = case.open.intents[:-1]
    if rest and not case.open.reduced:
        reduced = reopen(replace(case.open, intents=rest), case.confirmed, case.doubt, upsert=upsert)
        if reduced and (reduced.target.presence, reduced.target.patch) != (
            case.target.presence,
            case.target.patch,
        ):
            newest = case.open.intents[-1]
            opened = OpenRelation(
                reduced.target.intents,
                case.open.cleared,
                since=case.open.since,
                reduced=True,
                verify=case.open.verify,
            )
            effects.states[relation] = RelationState(opened, case.confirmed, case.doubt, reduced.target)
            effects.outcomes.append(RelationOutcome(newest.job, relation, "failed", refusal=refusal))
            return
    effects.states[relation] = None
    effects.outcomes += [
        RelationOutcome(intent.job, relation, "failed", refusal=refusal) for intent in case.open.intents
    ]


def _read(
    cases: Mapping[Relation, RelationState],
    action: Action,
    outcome: ActionResult,
    context: ReplyContext,
    effects: Effects,
) -> None:
    for relation in action.relations:
        case = cases.get(relation)
        if case is None:
            continue  # settled before: a worker died after an earlier chunk
        if outcome.verdict in (Verdict.UNKNOWN, Verdict.NOT_SENT):
            decision = decide(
                "get",
                outcome,
                case.open,
                alone=True,
                retry=context.retry,
                now=context.answered,
                draw=context.draw(),
            )
            refusal = (
                case.open.refusal if case.open.refused else None
            )  # a lost read must not hide what is to be judged by the next
            _apply(relation, _missed(case), decision, refusal or _refusal(outcome), context, effects)
        elif outcome.error not in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK):
            _judged(
                relation,
                case,
                _seen(action, relation, outcome),
                context,
                effects,
                readable=outcome.verdict is Verdict.OK,
            )


def _judged(
    relation: Relation,
    case: RelationState,
    seen: bool | None,
    context: ReplyContext,
    effects: Effects,
    *,
    readable: bool,
) -> None:
    """Apply what a read-back showed; one that was refused shows nothing, so the writes' own answers decide."""
    unproved = seen is None and not readable and case.open.refused
    judged = (
        again(case.open, context.retry, context.draw())
        if unproved
        else judge(case, seen, retry=context.retry, draw=context.draw())
    )
    if judged.do is NextStep.CONFIRM:
        _confirm(relation, case, frozenset(), context, effects)
        return
    absent = case.target.presence is True and seen is False
    answered = case.with_progress(verify=False, refused=False, absent=absent, misses=0)
    _apply(relation, answered, judged, case.open.refusal or UNANSWERED, context, effects)


def _seen(action: Action, relation: Relation, outcome: ActionResult) -> bool | None:
    """Whether the answer shows the relation; None when the asked id is not in it, which proves nothing (R15)."""
    asked, other = (relation.parent, relation.child) if action.parents else (relation.child, relation.parent)
    related = outcome.related.get(asked)
    return None if related is None else other in related


def _written(
    cases: Mapping[Relation, RelationState],
    action: Action,
    outcome: ActionResult,
    context: ReplyContext,
    effects: Effects,
    *,
    sibling_failed: bool,
) -> None:
    relations, retry = action.relations, context.retry
    alone, keys = len(relations) == 1, _confirmed_keys(action)
    for position, relation in enumerate(relations):
        case = cases.get(relation)
        if case is None:
            continue  # settled before: a worker died after an earlier chunk
        decision = decide(
            action.kind,
            outcome,
            case.open,
            alone=alone,
            retry=retry,
            now=context.answered,
            draw=context.draw(),
        )
        if outcome.verdict is Verdict.UNKNOWN:
            case = _doubted(relation, case, action, context, effects)
        elif outcome.verdict is Verdict.NOT_SENT:
            case = _missed(case)
        if decision.do is NextStep.CONFIRM:
            _confirm(relation, case, keys, context, effects)
        elif decision.do is NextStep.SPLIT:
            part = halves(
                action.part or f"{relations[0]}/", position, len(relations), sibling_failed=sibling_failed
            )
            _apply(
                relation,
                case.with_progress(part=part, verify=action.kind != "modify"),
                decision,
                _refusal(outcome),
                context,
                effects,
            )
        else:
            _apply(relation, case, decision, _refusal(outcome), context, effects)


def _doubted(
    relation: Relation, case: RelationState, action: Action, context: ReplyContext, effects: Effects
) -> RelationState:
    """The case with its write in doubt: it may still land, and so may the info of one that was in doubt before (R14)."""
    before = case.doubt.info if case.doubt and case.doubt.until > context.signed else ()
    doubt = Doubt(
        context.signed + round(context.doubt * SECOND),
        action.kind,
        tuple(sorted(dict((*before, *action.info)).items())),
    )
    effects.confirmed[relation] = (case.confirmed, doubt)
    missed = _missed(case)
    return RelationState(
        replace(missed.open, losses=case.open.losses + 1), case.confirmed, doubt, case.target
    )


def _missed(case: RelationState) -> RelationState:
    return case.with_progress(misses=case.open.misses + 1)


def _confirmed_keys(action: Action) -> frozenset[str]:
    keys = frozenset(key for key, _ in action.info)
    return keys & CREATE_KEYS if action.kind == "create" else keys


def _confirm(
    relation: Relation, case: RelationState, keys: frozenset[str], context: ReplyContext, effects: Effects
) -> None:
    left, applied, known = advance(case, presence=True, keys=keys, upsert=context.retry.upsert)
    effects.states[relation] = left
    effects.confirmed[relation] = (known, case.doubt)
    effects.outcomes += [RelationOutcome(intent.job, relation, "applied") for intent in applied]


def _apply(
    relation: Relation,
    case: RelationState,
    decision: Decision,
    refusal: Refusal,
    context: ReplyContext,
    effects: Effects,
) -> None:
    """Every decision but confirm: the case stays open with its progress, or fails."""
    case = case.with_progress(refusal=refusal)
    match decision.do:
        case NextStep.HOLD:
            return
        case NextStep.FAIL:
            fail(relation, case, refusal, effects, upsert=context.retry.upsert)
            return
        case NextStep.CHECK:
            case = case.with_progress(verify=True, refused=True)
        case NextStep.ASK:
            case = case.with_progress(verify=True)
        case NextStep.INSERT:
            case = case.with_progress(absent=True)
        case NextStep.RETRY:
            case = case.with_progress(tries=case.open.tries + 1, losses=0, misses=0, absent=False)
    effects.states[relation] = (
        case.with_progress(not_before=context.answered + round(decision.delay * SECOND))
        if decision.delay
        else case
    )


def _refusal(outcome: ActionResult) -> Refusal:
    error = outcome.error.value if outcome.verdict is Verdict.REJECTED else outcome.verdict.value
    return Refusal(outcome.code, error, outcome.message)


def _sibling(part: str) -> str:
    """The other half of a split star; no part has an empty sibling."""
    return part[:-1] + {"0": "1", "1": "0"}.get(part[-1:], "-") if part else "-"
