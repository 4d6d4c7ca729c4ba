"""What happens to a job whose records are still to be found: it is resolved, parked, or fails. Pure."""

from collections.abc import Mapping

import msgspec

from worker.contract import Reference
from worker.contract.instant import to_us
from worker.planner.actions import Answer
from worker.ports.erasure import RecordRef
from worker.ports.references import LookUpResult, Parking, ReplacedSide, UnresolvedJob
from worker.ports.store import Retention
from worker.store.jobs import lifecycle
from worker.store.jobs.stored_job import (
    FAILED,
    PARKED,
    QUEUED,
    READ,
    SIDES,
    TO_BE_READ_FIRST,
    LoadedJob,
    StoredJob,
    StoredReference,
)
from worker.store.limits import MAX_FAULT_LENGTH


def waits(job: LoadedJob) -> bool:
    """Return whether the job waits for a record to be found."""
    return job.is_unresolved and job.value.state in (QUEUED, PARKED)


def as_unresolved(job: LoadedJob, account: str) -> UnresolvedJob:
    """Return the job as a look-up reads it."""
    v = job.value
    wanted = dict.fromkeys(each.reference for each in v.references if not each.record)
    parked, replaced = Parking(*v.parked) if v.parked else None, replaced_side(v)
    return UnresolvedJob(f"{account}-{job.short}", tuple(wanted), parked, replaced, v.correlation)


def replaced_side(v: StoredJob) -> ReplacedSide | None:
    """Return the side of which a replace waits for a read; None of another job."""
    if not v.awaits_read:
        return None
    asked = "c" if v.replaces == "p" else "p"
    named = [each for each in v.references if each.side == asked]
    ids = [*(v.parents if asked == "p" else v.children), *(each.record for each in named)]
    reference = None if ids[0] else named[0].reference
    return ReplacedSide(v.type, SIDES[asked], ids[0], reference, _only_one(v))


def _only_one(v: StoredJob) -> tuple[int | Reference, ...]:
    """Return what a replace names of which one can be right; a parent goes first where a child has one."""
    if v.phase != TO_BE_READ_FIRST:
        return ()
    found = [each.record or each.reference for each in v.references if each.side == v.replaces]
    return (*(v.parents if v.replaces == "p" else v.children), *found)


def settle(job: LoadedJob, result: LookUpResult, *, now: int, keep: Retention) -> None:
    """Write what a look-up found into a job that waits for it: it is queued, parked, or has failed."""
    v = job.value
    v.references = tuple(_answered(each, result.answers, result.asked_at) for each in v.references)
    if result.refusal:
        _fail(job, result.refusal, now=now, keep=keep)
    elif result.parked:
        v.state, v.parked = PARKED, result.parked
    else:
        _take_found(job, result, now=now, keep=keep)


def _take_found(job: LoadedJob, result: LookUpResult, *, now: int, keep: Retention) -> None:
    """Let the job be queued if its records are known now, and so is what a replace has to read."""
    related = result.related if job.value.awaits_read else None
    if related is not None or not job.is_unresolved:
        _resolve(job.value)
    if related is not None:
        _add_others(job, related, now=now, keep=keep)


def choose(job: LoadedJob, records: Mapping[Reference, int], by: str, *, now: int) -> None:
    """Write which records a person says that references are; with all of them known, the job is queued.

    Until then it is looked up at once. One that has failed goes back.
    """
    if has_failed_look_up(job):
        look_up_again(job, "", now=now)
    v = job.value
    v.references = tuple(
        msgspec.structs.replace(each, record=records[each.reference], asked_at=now, by=by)
        if not each.record and each.reference in records
        else each
        for each in v.references
    )
    if not job.is_unresolved:
        _resolve(v)
    else:
        look_up_now(job, now=now)


def reason_not_to_choose(job: LoadedJob, records: Mapping[Reference, int]) -> str:
    """Return why a person cannot say which records the job's references are; empty if that can be said."""
    v = job.value
    if v.replayed_by and v.state == FAILED:
        return "replaced"
    if not (waits(job) or has_failed_look_up(job)):
        return job.state
    is_named = any(not each.record and each.reference in records for each in v.references)
    return "" if is_named else "of other references"


def is_chosen(job: LoadedJob, records: Mapping[Reference, int]) -> bool:
    """Return whether the job's references are these records already."""
    own = [each for each in job.value.references if each.reference in records]
    return bool(own) and all(each.record == records[each.reference] for each in own)


def look_up_now(job: LoadedJob, *, now: int) -> bool:
    """Let a parked job be looked up at once; return whether that was to come later."""
    v = job.value
    if v.state != PARKED or not v.parked or v.parked[1] <= now:
        return False
    since, _, *rest = v.parked
    v.parked = (since, now, *rest)  # type: ignore[assignment]
    return True


def look_up_again(job: LoadedJob, mark: str, *, now: int) -> None:
    """Let a job that failed because a record was not found be looked up anew."""
    v = job.value
    v.state, v.refusal, v.parked = QUEUED, None, None
    count_left(v)
    v.requeued_at, v.finished_at, v.expires, v.dismissed = now, 0, 0, None
    v.replay = mark or v.replay


def has_failed_look_up(job: LoadedJob) -> bool:
    """Return whether the job failed because a record was not found, or not read."""
    return job.has_failed_as_a_whole and job.is_unresolved


def names(job: LoadedJob, who: RecordRef) -> bool:
    """Return whether a job names the record by its id, by a reference that led to it, or as a candidate."""
    v = job.value
    is_among_ids = lifecycle.ids_without(v, who) != (v.parents, v.children)
    return is_among_ids or lifecycle.references_without(v, who) != v.references


def count_left(v: StoredJob) -> None:
    """Count the relations anew of a job that waits; what a replace has to remove counts as one."""
    v.left = v.not_ended
    v.total = v.left + sum(v.counts)


def _answered(each: StoredReference, answers: Mapping[Reference, Answer], asked_at: int) -> StoredReference:
    answer = answers.get(each.reference)
    if each.record or answer is None:
        return each
    return msgspec.structs.replace(
        each, record=answer.record, asked_at=asked_at, candidates=answer.candidates
    )


def _resolve(v: StoredJob) -> None:
    """Let the records that were found join the ids of the job."""
    found = {side: [each.record for each in v.references if each.side == side] for side in ("p", "c")}
    v.parents = tuple(dict.fromkeys((*v.parents, *found["p"])))
    v.children = tuple(dict.fromkeys((*v.children, *found["c"])))
    v.state, v.parked = QUEUED, None
    count_left(v)


def _add_others(job: LoadedJob, related: frozenset[int], *, now: int, keep: Retention) -> None:
    """Let a replace remove what is there beside what it names; with nothing to do it has ended."""
    v, done = job.value, sum(job.value.counts)
    named = v.parents if v.replaces == "p" else v.children
    others = tuple(sorted(related - {*named}))
    if v.replaces == "p":
        v.parents = (*v.parents, *others)
    else:
        v.children = (*v.children, *others)
    was_first, v.phase, v.named = v.phase == TO_BE_READ_FIRST, READ, len(named)
    to_do = job.all_relations() if was_first else job.removals()
    v.again = tuple(map(str, to_do))
    v.total, v.left = done + len(to_do), len(to_do)
    if not to_do:
        lifecycle.end(job, now=now, keep=keep)


def _fail(job: LoadedJob, refusal: tuple[int, str, str], *, now: int, keep: Retention) -> None:
    v, (code, error, message) = job.value, refusal
    v.refusal = (code, error, message[:MAX_FAULT_LENGTH], "")
    v.state, v.total, v.left = FAILED, sum(v.counts), 0
    v.finished_at, v.expires = now, now + to_us(keep.failed)
