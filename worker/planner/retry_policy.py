"""The whole retry policy: one decision per answer to a write, and one per read-back. Pure values in and out.

What an answer means is decided here and nowhere else; `apply_reply.py` applies it to the relations of a
request.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from worker.contract.instant import SECOND
from worker.planner.actions import ActionResult, ErrorClass, Kind, Verdict
from worker.planner.relation_state import OpenRelation, RelationState, Stage

SPLIT_AFTER = 3  # answers lost in a row before the star itself is suspected (R16)
MIN_HALVED = 4  # halving fewer relations costs more than trying each alone
CURABLE = (ErrorClass.AMBIGUOUS, ErrorClass.ABSENT)  # rejections that time may cure


class NextStep(StrEnum):
    """What to do about one relation."""

    CONFIRM = "confirm"  # the API says that it is as wanted
    KEEP = "keep"  # the account is at fault, not the relation: nothing changes
    TRY_LATER = "try later"  # the same after a delay; that is no rejection
    READ_BACK = "read back"  # a read after a delay, before anything else
    READ_REJECTED = "read rejected"  # rejected alone: a read at once, which decides
    SPLIT = "split"  # rejected together with others: read back, then write in smaller stars
    RETRY = (
        "retry"  # a definite rejection that time may cure: the same after a delay, and one rejection counted
    )
    CREATE = "create"  # a modify met no relation and may create it
    FAIL = "fail"


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What to do, and after how many seconds."""

    step: NextStep
    delay: float = 0.0


class RetryPolicy(NamedTuple):
    """How long to try: definite rejections, seconds without a definite answer, shortest and longest backoff.

    With `upsert` a modify of a relation that does not exist creates it.
    """

    max_attempts: int = 8
    give_up_after: float = 86_400.0
    backoff: tuple[float, float] = (1.0, 300.0)
    upsert: bool = False


def decide(
    kind: Kind,
    result: ActionResult,
    opened: OpenRelation,
    *,
    alone: bool,
    retry: RetryPolicy,
    now: int,
    draw: float,
) -> Decision:
    """Decide what to do about a relation after an action of this kind was answered, or was not.

    `alone` says whether it was the only relation of its action; `draw` is a random number from [0, 1).
    """
    if result.verdict is Verdict.OK:
        return Decision(NextStep.CONFIRM)
    if result.verdict is Verdict.REJECTED:
        return _decide_rejected(kind, result.error, opened, alone=alone, retry=retry, draw=draw)
    if now - opened.since > retry.give_up_after * SECOND:
        return Decision(NextStep.FAIL)
    delay = backoff(max(opened.failures, opened.suspicion), retry, draw)
    if result.verdict is Verdict.NOT_SENT:
        return Decision(NextStep.TRY_LATER, delay)
    if not alone and opened.lost_writes + 1 >= SPLIT_AFTER:
        return Decision(NextStep.SPLIT, delay)
    return Decision(NextStep.TRY_LATER if kind == "modify" else NextStep.READ_BACK, delay)


def decide_after_read(
    state: RelationState, seen: bool | None, *, retry: RetryPolicy, draw: float
) -> Decision:
    """Decide after a read that saw the relation, saw that it is absent, or (None) proves neither (R15).

    TRY_LATER without a delay means to write it now. An absence that is not proved counts only together with
    the API's own rejection of the delete.
    """
    rejected = state.open.stage is Stage.READ_REJECTED
    as_wanted = seen if state.target.presence else seen is False or (seen is None and rejected)
    if as_wanted:
        return Decision(NextStep.CONFIRM)
    return retry_or_fail(state.open, retry, draw) if rejected else Decision(NextStep.TRY_LATER)


def retry_or_fail(opened: OpenRelation, retry: RetryPolicy, draw: float) -> Decision:
    """Decide after a definite rejection: only some cure themselves, and none is tried for ever."""
    curable = opened.refusal is not None and opened.refusal.error in CURABLE
    if not curable or opened.rejections + 1 >= retry.max_attempts:
        return Decision(NextStep.FAIL)
    return Decision(NextStep.RETRY, backoff(opened.rejections, retry, draw))


def backoff(failures: int, retry: RetryPolicy, draw: float) -> float:
    """Return the seconds to wait: a random part of base · 2^failures, capped; never a busy loop."""
    first, longest = retry.backoff
    return max(first / 4, draw * min(longest, first * 2.0 ** min(failures, 30)))


def split_part(part: str, position: int, size: int, *, sibling_failed: bool) -> str:
    """Return the new part of the relation at `position` of a star of `size` that was rejected as `part`.

    Halve while one culprit is suspected; when both halves of a star fail there are several, and each goes
    alone.
    """
    if size < MIN_HALVED or sibling_failed:
        return f"{part}.{position}"
    return part + ("0" if position * 2 < size else "1")


def _decide_rejected(
    kind: Kind, error: ErrorClass, opened: OpenRelation, *, alone: bool, retry: RetryPolicy, draw: float
) -> Decision:
    if error in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK):
        return Decision(NextStep.KEEP)
    if not alone:
        return Decision(NextStep.SPLIT)
    if kind == "modify":
        return _decide_rejected_modify(error, opened, retry, draw)
    readable = (ErrorClass.AMBIGUOUS,) if kind == "create" else (*CURABLE, ErrorClass.RECORD)
    return Decision(NextStep.READ_REJECTED if error in readable else NextStep.FAIL)


def _decide_rejected_modify(
    error: ErrorClass, opened: OpenRelation, retry: RetryPolicy, draw: float
) -> Decision:
    # Only once: a target that says nothing about presence is modified again, and would be sent here for ever.
    if error is ErrorClass.ABSENT and retry.upsert and opened.stage is not Stage.WRITE_ABSENT:
        return Decision(NextStep.CREATE)
    if error in CURABLE and opened.rejections + 1 < retry.max_attempts:
        return Decision(NextStep.RETRY, backoff(opened.rejections, retry, draw))
    return Decision(NextStep.FAIL)
