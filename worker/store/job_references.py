"""What happens to a job whose records are still to be found: it is resolved, parked, or fails. Pure."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from worker.contract import Reference
from worker.planner.lookup import Answer
from worker.ports import LookUpResult, Parking, RecordRef, UnresolvedJob
from worker.store.jobs import FAILED, PARKED, QUEUED, STATES, LoadedJob, StoredJob, StoredReference, to_us
from worker.store.limits import MAX_FAULT_LENGTH, Retention

ERASED_REFERENCE: Final = (("erased", "erased"),)
"""Stands for the fields of a reference that were erased."""


def waits(job: LoadedJob) -> bool:
    """Return whether the job waits for a record to be found."""
    return job.is_unresolved and job.value.state in (QUEUED, PARKED)


def as_unresolved(job: LoadedJob, account: str) -> UnresolvedJob:
    """Return the job as a look-up reads it."""
    v = job.value
    wanted = dict.fromkeys(each.reference for each in v.references if not each.record)
    return UnresolvedJob(f"{account}-{job.short}", tuple(wanted), Parking(*v.parked) if v.parked else None)


def settle(job: LoadedJob, result: LookUpResult, totals: Counter[str], *, now: int, keep: Retention) -> None:
    """Write what a look-up found into a job that waits for it: it is queued, parked, or has failed."""
    v, before = job.value, job.value.state
    v.references = tuple(_answered(each, result.answers, result.asked_at) for each in v.references)
    if result.refusal:
        _fail(job, result.refusal, now=now, keep=keep)
        totals["failed"] += 1
    elif result.parked:
        v.state, v.parked = PARKED, result.parked
    elif not job.is_unresolved:
        _resolve(v)
    _count_state(totals, before, v.state)


def choose(
    job: LoadedJob, records: Mapping[Reference, int], by: str, totals: Counter[str], *, now: int
) -> None:
    """Write which records a person says that references are; with all of them known, the job is queued."""
    v, before = job.value, job.value.state
    v.references = tuple(
        msgspec.structs.replace(each, record=records[each.reference], asked_at=now, by=by)
        if not each.record and each.reference in records
        else each
        for each in v.references
    )
    if not job.is_unresolved:
        _resolve(v)
    _count_state(totals, before, v.state)


def look_up_again(job: LoadedJob, mark: str, totals: Counter[str], *, now: int) -> None:
    """Let a job that failed because a record was not found be looked up anew."""
    v = job.value
    v.state, v.refusal, v.parked = QUEUED, None, None
    v.total = v.left = v.size
    v.requeued_at, v.finished_at, v.expires, v.dismissed = now, 0, 0, None
    v.replay = mark or v.replay
    totals["failed"] -= 1


def has_failed_look_up(job: LoadedJob) -> bool:
    """Return whether the job failed because a record was not found."""
    return job.value.state == FAILED and job.is_unresolved and not job.value.total


def erase(job: LoadedJob, who: RecordRef, named: frozenset[Reference]) -> bool:
    """Take a record out of a job's references, and those that are `named` alike; return whether any was."""
    v, is_any = job.value, False
    references = []
    for each in v.references:
        if each.reference in named or (each.record and who.is_record(each.module, each.record)):
            references.append(StoredReference(each.side, each.module, ERASED_REFERENCE, each.record))
            is_any = True
        elif any(who.is_record(each.module, candidate) for candidate in each.candidates):
            left = tuple(record for record in each.candidates if not who.is_record(each.module, record))
            references.append(msgspec.structs.replace(each, candidates=left))
            is_any = True
        else:
            references.append(each)
    v.references = tuple(references)
    return is_any


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
    v.total = v.left = v.size


def _fail(job: LoadedJob, refusal: tuple[int, str, str], *, now: int, keep: Retention) -> None:
    v, (code, error, message) = job.value, refusal
    v.refusal = (code, error, message[:MAX_FAULT_LENGTH], "")
    v.state, v.total, v.left = FAILED, 0, 0
    v.finished_at, v.expires = now, now + to_us(keep.failed)


def _count_state(totals: Counter[str], before: int, after: int) -> None:
    for state, by in ((before, -1), (after, 1)):
        if state == PARKED:
            totals[STATES[state]] += by
