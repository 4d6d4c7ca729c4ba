"""What happens to a job: it is claimed, settled, and ends. Pure: times, outcomes and ids are arguments.

Each transition changes the job, and adds to the account's totals.
"""

from collections import Counter
from collections.abc import Sequence

from worker.contract.instant import to_us
from worker.planner.apply_reply import RelationOutcome
from worker.ports.erasure import ERASED
from worker.ports.job_admin import CANCELLED
from worker.ports.records import JobState
from worker.ports.store import Retention
from worker.store.jobs.stored_job import (
    COUNTED,
    FAILED,
    NUMBER_OF,
    NUMBERS,
    OUTCOME_COUNTERS,
    QUEUED,
    SENDING,
    STATES,
    SUCCEEDED,
    SUPERSEDED,
    TO_BE_READ,
    UNKNOWN_REFUSAL,
    LoadedJob,
    StoredJob,
)
from worker.store.limits import REQUEST_IDS_LENGTH


def claim(job: LoadedJob) -> None:
    """Let the job leave the queue."""
    job.value.state, job.value.again = SENDING, ()


def settle(
    job: LoadedJob,
    outcomes: Sequence[RelationOutcome],
    state: JobState | None,
    request_id: str,
    totals: Counter[str],
    *,
    now: int,
    keep: Retention,
) -> bool:
    """Count a job's outcomes and set its state; the last outcome ends it. Return False if it had ended."""
    v = job.value
    if not v.left:
        return False
    before, counts = v.state, list(v.counts)
    for outcome in outcomes:
        result, refusal = outcome.result, outcome.refusal
        counts[NUMBERS[result]] += 1
        totals[OUTCOME_COUNTERS[result]] += 1
        if outcome.by:
            v.by = outcome.by
        if result == "failed":
            totals[f"failures:{refusal.error if refusal else 'other'}"] += 1
            _add_failure(v, str(outcome.relation), refusal or UNKNOWN_REFUSAL[:3])
    was_sent = state or counts[0] > v.counts[0] or counts[3] > v.counts[3]
    v.counts = (counts[0], counts[1], counts[2], counts[3])
    v.left -= len(outcomes)
    if request_id and was_sent and request_id not in v.requests:
        v.requests = _latest_that_fit((*v.requests, request_id)) if v.requests else (request_id,)
        v.attempts += state != "queued"  # a dry run of a queued job is no attempt
    if v.left <= 0 and has_to_remove(v):
        await_read(job)
    elif v.left <= 0:
        end(job, totals, now=now, keep=keep)
    elif state:
        v.state = NUMBER_OF[state]
    if v.state != before:
        _move_state_count(totals, STATES[before], STATES[v.state])
    return True


def has_to_remove(v: StoredJob) -> bool:
    """Return whether all that a replace names is there now, so that what else there is may go."""
    return bool(v.replaces) and v.phase == 0 and not v.counts[3] and v.by not in (CANCELLED, ERASED)


def await_read(job: LoadedJob) -> None:
    """Let a replace wait for a read of what else is there; that counts as one relation until it is known."""
    v = job.value
    v.phase, v.state, v.again = TO_BE_READ, QUEUED, ()
    v.total, v.left = v.total + 1, 1


def end_in_queue(job: LoadedJob, by: str, totals: Counter[str], *, now: int, keep: Retention) -> None:
    """End a job that waits in the queue: what was left of it is superseded."""
    before = job.value.state
    supersede(job, job.value.left, by, totals)
    job.value.again, job.value.parked = (), None
    end(job, totals, now=now, keep=keep)
    _move_state_count(totals, STATES[before], STATES[job.value.state])


def supersede(job: LoadedJob, count: int, by: str, totals: Counter[str]) -> None:
    """Count relations of a job in the queue as superseded."""
    v = job.value
    v.counts = (v.counts[0], v.counts[1] + count, v.counts[2], v.counts[3])
    v.left, v.by = v.left - count, by
    totals["relations_superseded"] += count


def is_cancelled(job: LoadedJob) -> bool:
    """Return whether it ended because a person has cancelled it."""
    return job.value.by == CANCELLED and not job.is_open


def end(job: LoadedJob, totals: Counter[str], *, now: int, keep: Retention) -> None:
    """End a job by its counts; one that had nothing to do has succeeded."""
    v = job.value
    v.state = FAILED if v.counts[3] else SUCCEEDED if v.counts[0] or not v.total else SUPERSEDED
    v.left, v.finished_at = 0, now
    v.expires = now + to_us(keep.failed if v.state == FAILED else keep.finished)
    totals[STATES[v.state]] += 1


def _move_state_count(totals: Counter[str], before: str, after: str) -> None:
    """Count open states as they are; ended ones are counted as they come."""
    if before in COUNTED:
        totals[before] -= 1
    if after in COUNTED:
        totals[after] += 1


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
