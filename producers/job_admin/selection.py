"""The jobs that an operator selects, by ids or by a filter: described, looked up, and fit for an act or not.

What failed is a list of relations: an error and ids select those of each job that are acted on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, NamedTuple

import msgspec

from worker.contract import Relation, account_of, limit_faults, write_instant
from worker.errors import Fault, InvalidChange
from worker.ports.job_admin import summarize_ids, waiting_failures
from worker.ports.queries import JobLookups, walk_pages
from worker.ports.records import FILTER_TIMES, Failure, JobFilter, JobRecord, JobState

MAX_JOBS: Final = 100_000  # jobs that one call acts on
MAX_ID: Final = 64  # characters of the id of a job; ours have at most 51
PIECE: Final = 500  # jobs that are looked up at once
OF_RELATIONS: Final = ("type", "parent", "child", "error")  # fields of a filter that failures are picked by
FOREIGN: Final = "foreign"  # the reason why a job of another account is refused
GONE: Final = "gone"  # the reason for one that there is not, or not any more
OTHER_FAILURE: Final = "failed of something else"  # the reason for one that has no such failed relation
NOTHING_SELECTED: Final = (
    "say which jobs: their ids, or at least one of state, type, parent, child, error, source, batch, "
    "event_id, reference, since, until, failed_since, failed_until"
)


@dataclass(frozen=True, slots=True)
class NarrowedJobs:
    """Jobs by their ids, and of each only the failed relations that fit the filter's error and ids."""

    jobs: tuple[str, ...]
    filter: JobFilter


Selection = Sequence[str] | JobFilter | NarrowedJobs


def narrow(jobs: Sequence[str], wanted: JobFilter) -> Selection:
    """Return the jobs, narrowed to the failed relations that a filter picks, if it picks any.

    Raises InvalidChange for a filter of anything else: ids have said already which jobs.
    """
    picked = {name: getattr(wanted, name) for name in OF_RELATIONS}
    relations = JobFilter(**picked)
    if relations != wanted:
        allowed = "beside ids only type, parent, child and error say more: which failed relations of them"
        raise InvalidChange([Fault("jobs", f"expected ids or a filter, not both; {allowed}")])
    return NarrowedJobs(tuple(jobs), relations) if any(picked.values()) else jobs


def narrow_to_relations(jobs: Sequence[str], selection: Selection) -> Selection:
    """Return the jobs, of which the same failed relations are picked as by the selection that found them."""
    if isinstance(selection, NarrowedJobs):
        return NarrowedJobs(tuple(jobs), selection.filter)
    if isinstance(selection, JobFilter):
        return narrow(jobs, JobFilter(**{name: getattr(selection, name) for name in OF_RELATIONS}))
    return jobs


def pick_failures(job: JobRecord, selection: Selection) -> tuple[Failure, ...]:
    """Return the failed relations of a job that a selection is about.

    Those that wait for a decision; of a job that is named and has none of them, those that were dismissed.
    """
    if isinstance(selection, NarrowedJobs):
        fitting = tuple(filter(selection.filter.fits_failure, job.failures))
        return tuple(each for each in fitting if each.dismissed is None) or fitting
    if isinstance(selection, JobFilter):
        return tuple(filter(selection.fits_failure, waiting_failures(job)))
    return waiting_failures(job)


def name_relations(job: JobRecord, relations: Sequence[Relation]) -> tuple[str, ...]:
    """Return the names of failed relations; none if they are all that an act on the job is about."""
    waiting = [failure.relation for failure in waiting_failures(job)]
    return () if waiting == [*relations] else tuple(map(str, relations))


def describe_selection(selection: Selection) -> str:
    """Return the selection in words; raises InvalidChange if it selects nothing, or everything."""
    if isinstance(selection, NarrowedJobs):
        return f"{summarize_ids(_check_ids(selection.jobs))}: {_describe_filter(selection.filter)}"
    if isinstance(selection, JobFilter):
        return _describe_filter(selection)
    if not selection:
        raise InvalidChange([Fault("", NOTHING_SELECTED)])
    return summarize_ids(_check_ids(selection))


def _check_ids(jobs: Sequence[str]) -> Sequence[str]:
    """Return the ids; raise InvalidChange for those that are too long to be any."""
    if faults := [
        Fault(f"jobs[{at}]", f"expected the id of a job, at most {MAX_ID} characters, got {len(each)}")
        for at, each in enumerate(jobs)
        if len(each) > MAX_ID
    ]:
        raise InvalidChange(limit_faults(faults))
    return jobs


def _describe_filter(wanted: JobFilter) -> str:
    conditions = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value}
    if not conditions:
        raise InvalidChange([Fault("", NOTHING_SELECTED)])
    for name in FILTER_TIMES:
        if name in conditions:
            conditions[name] = write_instant(conditions[name])
    if wanted.reference:
        conditions["reference"] = wanted.reference.without_values
    return ", ".join(f"{name} {value}" for name, value in conditions.items())


def restrict_to_states(selection: Selection, states: Sequence[JobState]) -> Selection:
    """Return the selection with a filter limited to jobs in this state; ids are returned as they are.

    A filter of several states is returned as it is, if it names none or one of them.

    Raises InvalidChange if it selects nothing, everything, or jobs in another state.
    """
    describe_selection(selection)
    if not isinstance(selection, JobFilter):
        return selection
    if selection.state not in ("", *states):
        expected = " or ".join(states)
        raise InvalidChange(
            [Fault("state", f"expected {expected}, or none: others cannot be acted on like this")]
        )
    return msgspec.structs.replace(selection, state=states[0]) if len(states) == 1 else selection


def find_jobs(
    queries: JobLookups, account: str, selection: Selection
) -> Iterator[Mapping[str, JobRecord | None]]:
    """Yield the jobs in pieces, those of a filter newest first; None for an id that does not exist."""
    if isinstance(selection, JobFilter):
        yield from _find_by_filter(queries, account, selection)
        return
    named = selection.jobs if isinstance(selection, NarrowedJobs) else selection
    ids = iter(dict.fromkeys(named))
    while piece := list(islice(ids, PIECE)):
        found = queries.get_jobs(piece)
        yield {job_id: found.get(job_id) for job_id in piece}


class SelectedJobs(NamedTuple):
    """The jobs that can be acted on, why others are refused, and whether there are more."""

    jobs: tuple[str, ...]
    refused: Mapping[str, str]
    more: bool = False


def select_jobs(
    lookups: JobLookups,
    account: str,
    selection: Selection,
    states: Sequence[JobState],
    *,
    most: int = MAX_JOBS,
) -> SelectedJobs:
    """Return the selected jobs of the account in these states, at most so many."""
    jobs, refused = list[str](), dict[str, str]()
    for job_id, _, reason in judge_jobs(lookups, account, selection, states):
        if reason:
            refused[job_id] = reason
        elif len(jobs) == most:
            return SelectedJobs(tuple(jobs), refused, more=True)
        else:
            jobs.append(job_id)
    return SelectedJobs(tuple(jobs), refused)


def judge_jobs(
    lookups: JobLookups, account: str, selection: Selection, states: Sequence[JobState]
) -> Iterator[tuple[str, JobRecord | None, str]]:
    """Yield the selected jobs, each with why it cannot be acted on, mostly the state it is in, or "".

    A filter selects none in other states. Raises InvalidChange for a part of a change that did not fail.
    """
    if isinstance(selection, NarrowedJobs) and "failed" not in states:
        raise InvalidChange([Fault("jobs", "a change is cancelled as a whole; give its id alone")])
    parts = _split_by_state(restrict_to_states(selection, states), states)
    pieces = chain.from_iterable(find_jobs(lookups, account, part) for part in parts)
    seen = set[str]()
    for job_id, job in chain.from_iterable(piece.items() for piece in pieces):
        reason = _reason_to_refuse(account, job_id, job, selection, states)
        if job_id not in seen and not (reason and isinstance(selection, JobFilter)):
            yield job_id, job, reason
        seen.add(job_id)


def _split_by_state(selection: Selection, states: Sequence[JobState]) -> Sequence[Selection]:
    """Return a filter of any state as one for each, since open jobs are found at once in a list of theirs."""
    if not isinstance(selection, JobFilter) or selection.state or selection.error:
        return [selection]
    return [msgspec.structs.replace(selection, state=state) for state in states]


def _reason_to_refuse(
    account: str, job_id: str, job: JobRecord | None, selection: Selection, states: Sequence[JobState]
) -> str:
    if is_foreign(job_id, account):
        return FOREIGN
    if job is None:
        return GONE
    if job.state not in states:
        return job.state
    return OTHER_FAILURE if isinstance(selection, NarrowedJobs) and not pick_failures(job, selection) else ""


def is_foreign(job_id: str, account: str) -> bool:
    """Return whether the job belongs to another account."""
    return account_of(job_id) != account


def _find_by_filter(
    queries: JobLookups, account: str, wanted: JobFilter
) -> Iterator[Mapping[str, JobRecord]]:
    for page in walk_pages(lambda cursor: queries.find_jobs(account, wanted, limit=PIECE, cursor=cursor)):
        if page.entries:
            yield {job.id: job for job in page.entries}
