"""The jobs that an operator selects, by ids or by a filter: described in words, looked up in pieces."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec

from worker.contract import limit_faults, write_instant
from worker.errors import Fault, InvalidChange
from worker.ports import JobFilter, JobRecord, JobState, Queries, summarize_ids

MAX_JOBS: Final = 100_000  # jobs that one call acts on
MAX_ID: Final = 64  # characters of the id of a job; ours have at most 51
PIECE: Final = 500  # jobs that are looked up at once
NOTHING_SELECTED: Final = (
    "say which jobs: their ids, or at least one of "
    "state, type, parent, child, error, source, batch, since, until"
)

Selection = Sequence[str] | JobFilter


def describe_selection(selection: Selection) -> str:
    """Return the selection in words; raises InvalidChange if it selects nothing, or everything."""
    if not isinstance(selection, JobFilter):
        if not selection:
            raise InvalidChange([Fault("", NOTHING_SELECTED)])
        if faults := [
            Fault(f"jobs[{at}]", f"expected the id of a job, at most {MAX_ID} characters, got {len(each)}")
            for at, each in enumerate(selection)
            if len(each) > MAX_ID
        ]:
            raise InvalidChange(limit_faults(faults))
        return summarize_ids(selection)
    conditions = {name: value for name, value in msgspec.structs.asdict(selection).items() if value}
    if not conditions:
        raise InvalidChange([Fault("", NOTHING_SELECTED)])
    for name in ("since", "until", "failed_since", "failed_until"):
        if name in conditions:
            conditions[name] = write_instant(conditions[name])
    return ", ".join(f"{name} {value}" for name, value in conditions.items())


def restrict_to_state(selection: Selection, state: JobState) -> Selection:
    """Return the selection with a filter limited to jobs in this state; ids are returned as they are.

    Raises InvalidChange if it selects nothing, everything, or jobs in another state.
    """
    describe_selection(selection)
    if not isinstance(selection, JobFilter):
        return selection
    if selection.state not in ("", state):
        raise InvalidChange(
            [Fault("state", f"expected {state}, or none: others cannot be acted on like this")]
        )
    return msgspec.structs.replace(selection, state=state)


def find_jobs(
    queries: Queries, account: str, selection: Selection
) -> Iterator[Mapping[str, JobRecord | None]]:
    """Yield the jobs in pieces, those of a filter newest first; None for an id that does not exist."""
    if isinstance(selection, JobFilter):
        yield from _find_by_filter(queries, account, selection)
        return
    ids = iter(dict.fromkeys(selection))
    while piece := list(islice(ids, PIECE)):
        found = queries.get_jobs(piece)
        yield {job_id: found.get(job_id) for job_id in piece}


def is_foreign(job_id: str, account: str) -> bool:
    """Return whether the job belongs to another account."""
    return job_id.rpartition("-")[0] != account


def _find_by_filter(queries: Queries, account: str, wanted: JobFilter) -> Iterator[Mapping[str, JobRecord]]:
    cursor = ""
    while True:
        page = queries.find_jobs(account, wanted, limit=PIECE, cursor=cursor)
        if page.jobs:
            yield {job.id: job for job in page.jobs}
        if not (cursor := page.next):
            return
