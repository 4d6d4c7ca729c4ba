"""The whole retry policy: one decision for one outcome, one judgement for one read-back. Pure values in and out.

What an answer *means* is decided here and nowhere else; `answer.py` applies it to the relations of a request.
"""

from enum import StrEnum
from typing import NamedTuple

from worker.planner.actions import ActionResult, ErrorClass, Kind, Verdict
from worker.planner.relation_state import OpenRelation, RelationState

SECOND = 1_000_000
SPLIT_AFTER = 3  # answers lost in a row before a star is suspected itself (R16)
SMALL = 3  # halving fewer relations than this costs more than trying each alone


class NextStep(StrEnum):
    """What to do about one relation."""

    CONFIRM = "confirm"  # the API says it is so
    HOLD = "hold"  # the account is at fault, not the relation: nothing changes
    LATER = "later"  # try the same again after a delay; no try is consumed
    ASK = "ask"  # read back, after a delay, before anything else
    CHECK = "check"  # rejected alone: read back at once, the read decides
    SPLIT = "split"  # rejected in company: read back, then in smaller company
    RETRY = "retry"  # a definite rejection that time may cure: again after a delay, one try consumed
    INSERT = "insert"  # a modify met no relation and may create it
    FAIL = "fail"


class Decision(NamedTuple):
    """What to do, and after how many seconds."""

    do: NextStep
    delay: float = 0.0


class RetryPolicy(NamedTuple):
    """How long to go on: definite rejections of one relation, seconds without a definite answer, seconds of backoff."""

    max_attempts: int = 8
    give_up_after: float = 86_400.0
    backoff: tuple[float, float] = (1.0, 300.0)
    upsert: bool = False


def decide(
    kind: Kind,
    outcome: ActionResult,
    opened: OpenRelation,
    *,
    alone: bool,
    retry: RetryPolicy,
    now: int,
    draw: float,
) -> Decision:
    """What to do about a relation after a write; `alone` if it was the only one in its action, `draw` from [0, 1)."""
    if outcome.verdict is Verdict.OK:
        return Decision(NextStep.CONFIRM)
    if outcome.verdict is Verdict.REJECTED:
        return _rejected(kind, outcome.error, opened, alone=alone, retry=retry, draw=draw)
    if now - opened.since > retry.give_up_after * SECOND:
        return Decision(NextStep.FAIL)
    delay = backoff(opened.misses, retry, draw)
    if outcome.verdict is Verdict.NOT_SENT:
        return Decision(NextStep.LATER, delay)
    if not alone and opened.losses + 1 >= SPLIT_AFTER:
        return Decision(NextStep.SPLIT, delay)
    return Decision(NextStep.LATER if kind == "modify" else NextStep.ASK, delay)


def judge(case: RelationState, seen: bool | None, *, retry: RetryPolicy, draw: float) -> Decision:
    """What to do after a read-back that saw the relation, saw its absence, or (None) could not tell (R15).

    LATER with no delay means: write it (again). An absence that is not proved counts only with the API's own refusal
    to delete.
    """
    opened = case.open
    if case.target.presence:
        if seen:
            return Decision(NextStep.CONFIRM)
        return again(opened, retry, draw) if opened.refused else Decision(NextStep.LATER)
    if seen is False or (seen is None and opened.refused):
        return Decision(NextStep.CONFIRM)
    return again(opened, retry, draw) if opened.refused else Decision(NextStep.LATER)


def again(opened: OpenRelation, retry: RetryPolicy, draw: float) -> Decision:
    """Another try after a definite rejection, or the end of it: only ambiguous refusals may cure themselves."""
    curable = opened.refusal is not None and opened.refusal.error in (ErrorClass.AMBIGUOUS, ErrorClass.ABSENT)
    if not curable or opened.tries + 1 >= retry.max_attempts:
        return Decision(NextStep.FAIL)
    return Decision(NextStep.RETRY, backoff(opened.tries, retry, draw))


def backoff(failures: int, retry: RetryPolicy, draw: float) -> float:
    """Full jitter: seconds between 0 and the smaller of cap and base · 2^failures, but never a busy loop."""
    first, longest = retry.backoff
    return max(first / 4, draw * min(longest, first * 2.0 ** min(failures, 30)))


def halves(part: str, position: int, size: int, *, sibling_failed: bool) -> str:
    """The new part of the relation at `position` of a star of `size` that was rejected as `part`.

    Halve while one culprit is suspected; when both halves of a star fail there are several, and each goes alone.
    """
    if size <= SMALL or sibling_failed:
        return f"{part}.{position}"
    return part + ("0" if position * 2 < size else "1")


def _rejected(
    kind: Kind, error: ErrorClass, opened: OpenRelation, *, alone: bool, retry: RetryPolicy, draw: float
) -> Decision:
    if error in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK):
        return Decision(NextStep.HOLD)
    if not alone:
        return Decision(NextStep.SPLIT)
    if kind == "modify":
        return _modify_rejected(error, opened, retry, draw)
    checked = (
        (ErrorClass.AMBIGUOUS,)
        if kind == "create"
        else (ErrorClass.AMBIGUOUS, ErrorClass.RECORD, ErrorClass.ABSENT)
    )
    return Decision(NextStep.CHECK if error in checked else NextStep.FAIL)


def _modify_rejected(error: ErrorClass, opened: OpenRelation, retry: RetryPolicy, draw: float) -> Decision:
    if (
        error is ErrorClass.ABSENT and retry.upsert and not opened.absent
    ):  # once: what may not create would insert for ever
        return Decision(NextStep.INSERT)
    if error in (ErrorClass.ABSENT, ErrorClass.AMBIGUOUS) and opened.tries + 1 < retry.max_attempts:
        return Decision(NextStep.RETRY, backoff(opened.tries, retry, draw))
    return Decision(NextStep.FAIL)
