"""Cancels queued changes and dismisses failed jobs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from producers.job_admin.selection import (
    MAX_JOBS,
    NarrowedJobs,
    Selection,
    describe_selection,
    find_jobs,
    is_foreign,
    name_picked,
    pick_failures,
    restrict_to_state,
)
from worker.ports import AdminResult, AuditEntry, JobAdmin, JobFilter, JobRecord, JobState, Queries

FOREIGN: Final = "foreign"  # the reason why a job of another account is refused
OTHER_FAILURE: Final = "failed of something else"  # why one is that has no such failed relation


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAdminService:
    """Cancels and dismisses jobs of an account, and writes who did so to its audit log."""

    queries: Queries
    job_admin: JobAdmin
    new_id: Callable[[], str]

    def cancel(self, account: str, selection: Selection, *, by: str, note: str = "") -> AdminResult:
        """End queued changes as superseded; a change that a worker has taken is refused."""
        jobs, foreign = self._resolve(account, selection, "queued")
        entry = AuditEntry(self.new_id(), by, "cancelled", describe_selection(selection), note)
        result = self.job_admin.cancel(account, jobs, entry)
        return result._replace(refused={**result.refused, **foreign})

    def dismiss(self, account: str, selection: Selection, *, by: str, note: str = "") -> AdminResult:
        """Take failed jobs, or the failed relations of them that are selected, off the list that waits.

        They stay failed, and can still be replayed by their ids.
        """
        entry = AuditEntry(self.new_id(), by, "dismissed", describe_selection(selection), note)
        jobs, refused, only = list[str](), dict[str, str](), dict[str, tuple[str, ...]]()
        for job_id, job, reason in islice(self._judge(account, selection, "failed"), MAX_JOBS):
            if reason or job is None:
                refused[job_id] = reason
                continue
            jobs.append(job_id)
            if names := name_picked(job, pick_failures(job, selection)):
                only[job_id] = names
        result = self.job_admin.dismiss(account, jobs, entry, only=only)
        return result._replace(refused={**result.refused, **refused})

    def preview(
        self, account: str, selection: Selection, state: JobState
    ) -> Iterator[tuple[list[str], dict[str, str]]]:
        """Yield the account's jobs in this state, and why the other selected jobs are refused, one by one."""
        for job_id, _, reason in self._judge(account, selection, state):
            yield ([], {job_id: reason}) if reason else ([job_id], {})

    def _judge(
        self, account: str, selection: Selection, state: JobState
    ) -> Iterator[tuple[str, JobRecord | None, str]]:
        """Yield the selected jobs, each with why it cannot be acted on, mostly the state it is in, or ""."""
        for piece in find_jobs(self.queries, account, restrict_to_state(selection, state)):
            for job_id, job in piece.items():
                yield job_id, job, _reason_to_refuse(account, job_id, job, selection, state)

    def _resolve(
        self, account: str, selection: Selection, state: JobState
    ) -> tuple[list[str], dict[str, str]]:
        """Return the selected ids of the account, and those of other accounts with the reason.

        A filter selects only jobs in this state, and `MAX_JOBS` of them at most.
        """
        selection = restrict_to_state(selection, state)
        if isinstance(selection, JobFilter):
            found = (job_id for piece in find_jobs(self.queries, account, selection) for job_id in piece)
            return list(islice(found, MAX_JOBS)), {}
        named = selection.jobs if isinstance(selection, NarrowedJobs) else selection
        foreign = {job_id: FOREIGN for job_id in named if is_foreign(job_id, account)}
        return [job_id for job_id in named if job_id not in foreign], foreign


def _reason_to_refuse(
    account: str, job_id: str, job: JobRecord | None, selection: Selection, state: JobState
) -> str:
    if is_foreign(job_id, account):
        return FOREIGN
    if job is None:
        return "gone"
    if job.state != state:
        return job.state
    return OTHER_FAILURE if isinstance(selection, NarrowedJobs) and not pick_failures(job, selection) else ""
