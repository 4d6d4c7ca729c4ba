"""What the answer to one request changes: for each of its relations what is left to do, and which wishes got their outcome.

Pure. The decisions are `retry.py`'s; here they are applied, contributor by contributor (R9, R10).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from worker.contract import Relation
from worker.planner.actions import Action, ErrorClass, Outcome, Reply, Request, Verdict
from worker.planner.fold import Known, Result
from worker.planner.relation_state import CREATE_KEYS, Case, Doubt, Open, Refusal, advance, reopen
from worker.planner.retry_policy import SECOND, Decision, Do, Patience, again, decide, halves, judge

replace = msgspec.structs.replace
UNANSWERED = Refusal(0, "unknown", "no definite answer")


class Settled(NamedTuple):
    """One outcome of one (job, relation); `by` names the job that superseded it or that it is stale against."""

    job: str
    relation: Relation
    result: Result
    by: str = ""
    refusal: Refusal | None = None


@dataclass(slots=True)
class Effects:
    """What a step changes: cases (None: closed), the memories that moved, the outcomes that fell."""

    cases: dict[Relation, Case | None] = field(default_factory=dict)
    known: dict[Relation, tuple[Known, Doubt | None]] = field(default_factory=dict)
    settled: list[Settled] = field(default_factory=list)

    def add(self, later: "Effects") -> None:
        """Let later effects follow these."""
        self.cases |= later.cases
        self.known |= later.known
        self.settled += later.settled


class Moment(NamedTuple):
    """When a request was signed and answered (µs), how long a lost one may still land (seconds), and the policies."""

    signed: int
    answered: int
    doubt: float
    patience: Patience
    draw: Callable[[], float]


def answer(cases: Mapping[Relation, Case], request: Request, reply: Reply, moment: Moment) -> Effects:
    """The effects of a reply on the relations of its request."""
    effects = Effects()
    failed = {action.part for action, outcome in zip(request.actions, reply.outcomes, strict=True) if outcome.verdict is Verdict.REJECTED}
    for action, outcome in zip(request.actions, reply.outcomes, strict=True):
        if action.kind == "get":
            _read(cases, action, outcome, moment, effects)
        else:
            _written(cases, action, outcome, moment, effects, sibling_failed=_sibling(action.part) in failed)
    return effects


def lose(cases: Mapping[Relation, Case], request: Request, moment: Moment) -> Effects:
    """The effects of a request whose sender died: every write of it is in doubt (R14).

    Nothing is put off: whom it was about comes next again, in the same order, so that what kills can be found (R21).
    """
    moment = moment._replace(patience=moment.patience._replace(backoff=(0.0, 0.0)))
    silence = Outcome(Verdict.UNKNOWN, message="the worker that sent it died before the answer was recorded")
    return answer(cases, request, Reply((silence,) * len(request.actions)), moment)


def fail(relation: Relation, case: Case, refusal: Refusal, effects: Effects, *, upsert: bool) -> None:
    """End the case: its wishes fail, unless a merged one may be tried once more without its newest wish (R9)."""
    rest = case.open.wishes[:-1]
    if rest and not case.open.reduced:
        reduced = reopen(replace(case.open, wishes=rest), case.known, case.doubt, upsert=upsert)
        if reduced and (reduced.target.presence, reduced.target.patch) != (case.target.presence, case.target.patch):
            newest = case.open.wishes[-1]
            opened = Open(reduced.target.wishes, case.open.cleared, since=case.open.since, reduced=True, verify=case.open.verify)
            effects.cases[relation] = Case(opened, case.known, case.doubt, reduced.target)
            effects.settled.append(Settled(newest.job, relation, "failed", refusal=refusal))
            return
    effects.cases[relation] = None
    effects.settled += [Settled(wish.job, relation, "failed", refusal=refusal) for wish in case.open.wishes]


def _read(cases: Mapping[Relation, Case], action: Action, outcome: Outcome, moment: Moment, effects: Effects) -> None:
    for relation in action.relations:
        case = cases.get(relation)
        if case is None:
            continue  # settled before: a worker died after an earlier chunk
        if outcome.verdict in (Verdict.UNKNOWN, Verdict.NOT_SENT):
            decision = decide("get", outcome, case.open, alone=True, patience=moment.patience, now=moment.answered, draw=moment.draw())
            refusal = case.open.refusal if case.open.refused else None  # a lost read must not hide what is to be judged by the next
            _apply(relation, _missed(case), decision, refusal or _refusal(outcome), moment, effects)
        elif outcome.error not in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK):
            _judged(relation, case, _seen(action, relation, outcome), moment, effects, readable=outcome.verdict is Verdict.OK)


def _judged(relation: Relation, case: Case, seen: bool | None, moment: Moment, effects: Effects, *, readable: bool) -> None:
    """Apply what a read-back showed; one that was refused shows nothing, so the writes' own answers decide."""
    unproved = seen is None and not readable and case.open.refused
    judged = (
        again(case.open, moment.patience, moment.draw()) if unproved else judge(case, seen, patience=moment.patience, draw=moment.draw())
    )
    if judged.do is Do.CONFIRM:
        _confirm(relation, case, frozenset(), moment, effects)
        return
    absent = case.target.presence is True and seen is False
    answered = case.having(verify=False, refused=False, absent=absent, misses=0)
    _apply(relation, answered, judged, case.open.refusal or UNANSWERED, moment, effects)


def _seen(action: Action, relation: Relation, outcome: Outcome) -> bool | None:
    """Whether the answer shows the relation; None when the asked id is not in it, which proves nothing (R15)."""
    asked, other = (relation.parent, relation.child) if action.parents else (relation.child, relation.parent)
    related = outcome.related.get(asked)
    return None if related is None else other in related


def _written(
    cases: Mapping[Relation, Case], action: Action, outcome: Outcome, moment: Moment, effects: Effects, *, sibling_failed: bool
) -> None:
    relations, patience = action.relations, moment.patience
    alone, keys = len(relations) == 1, _confirmed_keys(action)
    for position, relation in enumerate(relations):
        case = cases.get(relation)
        if case is None:
            continue  # settled before: a worker died after an earlier chunk
        decision = decide(action.kind, outcome, case.open, alone=alone, patience=patience, now=moment.answered, draw=moment.draw())
        if outcome.verdict is Verdict.UNKNOWN:
            case = _doubted(relation, case, action, moment, effects)
        elif outcome.verdict is Verdict.NOT_SENT:
            case = _missed(case)
        if decision.do is Do.CONFIRM:
            _confirm(relation, case, keys, moment, effects)
        elif decision.do is Do.SPLIT:
            part = halves(action.part or f"{relations[0]}/", position, len(relations), sibling_failed=sibling_failed)
            _apply(relation, case.having(part=part, verify=action.kind != "modify"), decision, _refusal(outcome), moment, effects)
        else:
            _apply(relation, case, decision, _refusal(outcome), moment, effects)


def _doubted(relation: Relation, case: Case, action: Action, moment: Moment, effects: Effects) -> Case:
    """The case with its write in doubt: it may still land, and so may the info of one that was in doubt before (R14)."""
    before = case.doubt.info if case.doubt and case.doubt.until > moment.signed else ()
    doubt = Doubt(moment.signed + round(moment.doubt * SECOND), action.kind, tuple(sorted(dict((*before, *action.info)).items())))
    effects.known[relation] = (case.known, doubt)
    missed = _missed(case)
    return Case(replace(missed.open, losses=case.open.losses + 1), case.known, doubt, case.target)


def _missed(case: Case) -> Case:
    return case.having(misses=case.open.misses + 1)


def _confirmed_keys(action: Action) -> frozenset[str]:
    keys = frozenset(key for key, _ in action.info)
    return keys & CREATE_KEYS if action.kind == "create" else keys


def _confirm(relation: Relation, case: Case, keys: frozenset[str], moment: Moment, effects: Effects) -> None:
    left, applied, known = advance(case, presence=True, keys=keys, upsert=moment.patience.upsert)
    effects.cases[relation] = left
    effects.known[relation] = (known, case.doubt)
    effects.settled += [Settled(wish.job, relation, "applied") for wish in applied]


def _apply(relation: Relation, case: Case, decision: Decision, refusal: Refusal, moment: Moment, effects: Effects) -> None:
    """Every decision but confirm: the case stays open with its progress, or fails."""
    case = case.having(refusal=refusal)
    match decision.do:
        case Do.HOLD:
            return
        case Do.FAIL:
            fail(relation, case, refusal, effects, upsert=moment.patience.upsert)
            return
        case Do.CHECK:
            case = case.having(verify=True, refused=True)
        case Do.ASK:
            case = case.having(verify=True)
        case Do.INSERT:
            case = case.having(absent=True)
        case Do.RETRY:
            case = case.having(tries=case.open.tries + 1, losses=0, misses=0, absent=False)
    effects.cases[relation] = case.having(not_before=moment.answered + round(decision.delay * SECOND)) if decision.delay else case


def _refusal(outcome: Outcome) -> Refusal:
    error = outcome.error.value if outcome.verdict is Verdict.REJECTED else outcome.verdict.value
    return Refusal(outcome.code, error, outcome.message)


def _sibling(part: str) -> str:
    """The other half of a split star; no part has an empty sibling."""
    return part[:-1] + {"0": "1", "1": "0"}.get(part[-1:], "-") if part else "-"
