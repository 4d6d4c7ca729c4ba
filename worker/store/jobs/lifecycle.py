"""What happens to a job: it is claimed, settled and ends, people decide, an erased record leaves it. Pure.

Times, outcomes and ids are arguments. What a step counts follows from where the job stood before and after.
"""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from worker.contract import Relation
from worker.contract.instant import to_us
from worker.planner.apply_reply import RelationOutcome
from worker.ports.erasure import ERASED, RecordRef
from worker.ports.job_admin import CANCELLED, REPLACED
from worker.ports.records import JobState
from worker.ports.store import Retention
from worker.store.jobs.stored_job import (
    FAILED,
    NO_EVENT,
    NUMBER_OF,
    NUMBERS,
    QUEUED,
    SENDING,
    SUCCEEDED,
    SUPERSEDED,
    TO_BE_READ,
    UNKNOWN_REFUSAL,
    LoadedJob,
    StoredJob,
    StoredReference,
)
from worker.store.limits import REQUEST_IDS_LENGTH


def claim(jobs: Iterable[LoadedJob]) -> None:
    """Let jobs leave the queue."""
    for job in jobs:
        job.value.state, job.value.again = SENDING, ()


def settle(
    job: LoadedJob,
    outcomes: Sequence[RelationOutcome],
    state: JobState | None,
    request_id: str,
    *,
    now: int,
    keep: Retention,
) -> bool:
    """Count a job's outcomes and set its state; the last outcome ends it. Return False if it had ended."""
    v = job.value
    if not v.left:
        return False
    counts = list(v.counts)
    for outcome in outcomes:
        counts[NUMBERS[outcome.result]] += 1
        if outcome.by:
            v.by = outcome.by
        if outcome.result == "failed":
            _add_failure(v, str(outcome.relation), outcome.refusal or UNKNOWN_REFUSAL[:3])
    was_sent = state or counts[0] > v.counts[0] or counts[3] > v.counts[3]
    v.counts = (counts[0], counts[1], counts[2], counts[3])
    v.left -= len(outcomes)
    if request_id and was_sent and request_id not in v.requests:
        v.requests = _latest_that_fit((*v.requests, request_id)) if v.requests else (request_id,)
        v.attempts += state != "queued"  # a dry run of a queued job is no attempt
    if v.left > 0:
        v.state = NUMBER_OF[state] if state else v.state
    elif has_to_remove(v):
        await_read(job)
    else:
        end(job, now=now, keep=keep)
    return True


def has_to_remove(v: StoredJob) -> bool:
    """Return whether all that a replace names is there now, so that what else there is may go."""
    return bool(v.replaces) and v.phase == 0 and not v.counts[3] and v.by not in (CANCELLED, ERASED)


def await_read(job: LoadedJob) -> None:
    """Let a replace wait for a read of what else is there; that counts as one relation until it is known."""
    v = job.value
    v.phase, v.state, v.again = TO_BE_READ, QUEUED, ()
    v.total, v.left = v.total + 1, 1


def end_in_queue(job: LoadedJob, by: str, *, now: int, keep: Retention) -> None:
    """End a job that waits in the queue: what was left of it is superseded."""
    supersede(job, job.value.left, by)
    job.value.again, job.value.parked = (), None
    end(job, now=now, keep=keep)


def supersede(job: LoadedJob, count: int, by: str) -> None:
    """Count relations of a job in the queue as superseded."""
    v = job.value
    v.counts = (v.counts[0], v.counts[1] + count, v.counts[2], v.counts[3])
    v.left, v.by = v.left - count, by


def is_cancelled(job: LoadedJob) -> bool:
    """Return whether it ended because a person has cancelled it."""
    return job.value.by == CANCELLED and not job.is_open


def end(job: LoadedJob, *, now: int, keep: Retention) -> None:
    """End a job by its counts; one that had nothing to do has succeeded."""
    v = job.value
    v.state = FAILED if v.counts[3] else SUCCEEDED if v.counts[0] or not v.total else SUPERSEDED
    v.left, v.finished_at = 0, now
    v.expires = now + to_us(keep.failed if v.state == FAILED else keep.finished)


def _latest_that_fit(request_ids: tuple[str, ...]) -> tuple[str, ...]:
    while len(" ".join(request_ids)) > REQUEST_IDS_LENGTH:
        request_ids = request_ids[1:]
    return request_ids


def _add_failure(v: StoredJob, name: str, refusal: tuple[int, str, str]) -> None:
    if refusal not in v.refusals:
        v.refusals = (*v.refusals, (refusal[0], refusal[1], refusal[2]))
    v.failed, v.refused = (*v.failed, name), (*v.refused, v.refusals.index(refusal))
    if not v.refusal:
        show_first_refusal(v)


def show_first_refusal(v: StoredJob) -> None:
    """Let the job show the refusal of its first failure, and forget those that are no failure's any more."""
    refusals = tuple(dict.fromkeys(v.refusals[place] for place in v.refused))
    v.refused = tuple(refusals.index(v.refusals[place]) for place in v.refused)
    v.refusals = refusals
    v.refusal = (*refusals[v.refused[0]], v.failed[0]) if v.failed else None


# --- what people decide about failed relations


def failures_to_requeue(job: LoadedJob, since: int, only: Collection[str] = ()) -> tuple[str, ...]:
    """Return the failed relations, of `only` these, that may go back: none dismissed after `since` (µs).

    Without `only`, those that wait for a decision; if none waits, all that were dismissed.
    """
    v = job.value
    if v.state != FAILED or (v.dismissed and v.dismissed[0] > since):
        return ()
    decided_at = {name: at for name, at, _, _ in v.decided}
    if not only and not v.dismissed:
        return tuple(name for name, _ in v.undecided)
    chosen = frozenset(only or v.failed)
    return tuple(name for name in v.failed if name in chosen and decided_at.get(name, since) <= since)


def requeue(job: LoadedJob, names: Collection[str], mark: str, *, now: int) -> None:
    """Put a failed job back with only these of its failed relations to do; erased failures end superseded.

    The others stay failed, and what was decided about them stays decided.
    """
    v, names = job.value, frozenset(names)
    kept = [(name, place) for name, place in zip(v.failed, v.refused, strict=True) if name not in names]
    back = len(v.failed) - len(kept)
    erased = v.counts[3] - len(v.failed)
    v.counts = (v.counts[0], v.counts[1] + erased, v.counts[2], len(kept))
    v.state, v.left, v.requeued_at = QUEUED, back, now
    v.again = tuple(name for name in v.failed if name in names)
    _decide_all(v, [name for name, _ in kept])
    v.failed, v.refused = tuple(name for name, _ in kept), tuple(place for _, place in kept)
    show_first_refusal(v)
    v.finished_at, v.expires, v.dismissed = 0, 0, None
    v.replay = mark or v.replay


def dismiss(job: LoadedJob, names: Collection[str], at: int, by: str, why: str) -> bool:
    """Dismiss a failed job, or just these of its failed relations; return whether that changed anything."""
    v = job.value
    undecided = {name for name, _ in v.undecided}
    chosen = undecided & {*names} if names else undecided
    if v.dismissed or (names and not chosen):
        return False
    if chosen == undecided:
        v.dismissed = (at, by, why)
    if v.decided or chosen != undecided:
        v.decided += tuple((name, at, by, why) for name in v.failed if name in chosen)
    return True


def mark_replaced(job: LoadedJob, names: Collection[str], at: int, by: str) -> bool:
    """Dismiss a failed job, or just these of its failed relations, as sent anew; return whether it was news.

    What was dismissed before counts as sent anew too.
    """
    v = job.value
    known = {name for name, _, _, why in v.decided if why == REPLACED}
    wanted = frozenset(names or (() if v.dismissed else [name for name, _ in v.undecided]) or v.failed)
    fresh = tuple(name for name in v.failed if name in wanted and name not in known)
    if (v.dismissed and (v.dismissed[2] == REPLACED or not v.failed)) or (v.failed and not fresh):
        return False
    is_simple = not (v.decided or v.dismissed) and fresh == v.failed
    if not v.dismissed and {name for name, _ in v.undecided} <= {*fresh}:
        v.dismissed = (at, by, REPLACED)
    if not is_simple:
        others = tuple(entry for entry in v.decided if entry[0] not in fresh)
        v.decided = (*others, *((name, at, by, REPLACED) for name in fresh))
    return True


def _decide_all(v: StoredJob, names: Collection[str]) -> None:
    """Keep what was decided about these relations alone, also if it was about the whole job."""
    kept = frozenset(names)
    decided = tuple(entry for entry in v.decided if entry[0] in kept)
    if v.dismissed:
        known = {entry[0] for entry in decided}
        decided += tuple((name, *v.dismissed) for name in names if name not in known)
    v.decided = decided


# --- a record that is erased


def erase(job: LoadedJob, who: RecordRef) -> bool:
    """Take the record from a job whose open work about it has ended; return whether nothing is left of it."""
    v, is_emptied = job.value, is_nothing_without(job.value, who)
    listed = v.parents if v.replaces == "p" else v.children
    v.named -= sum(who.is_on(v.replaces, v.type, each) for each in listed[: v.named])
    (v.parents, v.children), v.references = ids_without(v, who), references_without(v, who)
    kept = _without(v.failed, who)
    v.refused = tuple(place for name, place in zip(v.failed, v.refused, strict=True) if name in kept)
    v.failed, v.again = kept, _without(v.again, who)
    v.decided = tuple(entry for entry in v.decided if entry[0] in kept)
    v.event_id = NO_EVENT
    drop_texts(v)
    if v.refusal:
        v.refusal = (*v.refusal[:3], "")
    if not is_emptied:
        return False
    v.parents, v.children, v.failed, v.refused, v.again, v.info, v.by = (), (), (), (), (), None, ERASED
    v.decided, v.references = (), ()
    return True


def is_nothing_without(v: StoredJob, who: RecordRef) -> bool:
    """Return whether a job is about nothing any more without the record."""
    parents, children = ids_without(v, who)
    named = {each.side for each in references_without(v, who)}
    return not (parents or "p" in named) or not (children or "c" in named)


def ids_without(v: StoredJob, who: RecordRef) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a job's parents and children without the record."""
    parents = tuple(each for each in v.parents if not who.is_on("p", v.type, each))
    return parents, tuple(each for each in v.children if not who.is_on("c", v.type, each))


def references_without(v: StoredJob, who: RecordRef) -> tuple[StoredReference, ...]:
    """Return a job's references without those that led to the record, and without it as a candidate."""
    return tuple(
        msgspec.structs.replace(
            each,
            candidates=tuple(other for other in each.candidates if not who.is_record(each.module, other)),
        )
        for each in v.references
        if not who.is_record(each.module, each.record)
    )


def drop_texts(v: StoredJob) -> None:
    """Drop what the API said of the failures, and what is said of a look-up; codes and classes stay."""
    v.refusals = tuple((code, error, "") for code, error, _ in v.refusals)
    if v.refusal:
        v.refusal = (v.refusal[0], v.refusal[1], "", v.refusal[3])
    if v.parked:
        v.parked = (*v.parked[:3], "", v.parked[4])


def _without(names: tuple[str, ...], who: RecordRef) -> tuple[str, ...]:
    return tuple(name for name in names if not who.is_part_of(Relation.parse(name)))
