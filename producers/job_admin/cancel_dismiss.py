"""Cancels queued changes and dismisses failed jobs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from producers.job_admin.selection import (
    MAX_JOBS,
    Selection,
    describe_selection,
    find_jobs,
    is_foreign,
    restrict_to_state,
)
from worker.ports import AdminResult, AuditEntry, JobAdmin, JobFilter, JobLookups, JobState, Queries

FOREIGN: Final = "foreign"  # the reason why a job of another account is refused


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
        """Take failed jobs off the list that waits for a decision.

        They stay failed, and can still be replayed by their ids.
        """
        jobs, foreign = self._resolve(account, selection, "failed")
        entry = AuditEntry(self.new_id(), by, "dismissed", describe_selection(selection), note)
        result = self.job_admin.dismiss(account, jobs, entry)
        return result._replace(refused={**result.refused, **foreign})

    def preview(
        self, account: str, selection: Selection, state: JobState
    ) -> Iterator[tuple[list[str], dict[str, str]]]:
        """Yield in pieces the account's jobs in this state, and why the other selected jobs are refused."""
        return preview_act(self.queries, account, selection, state)

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
        foreign = {job_id: FOREIGN for job_id in selection if is_foreign(job_id, account)}
        return [job_id for job_id in selection if job_id not in foreign], foreign


def preview_act(
    lookups: JobLookups, account: str, selection: Selection, state: JobState
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield in pieces the account's jobs in this state, and why the other selected jobs are refused."""
    for piece in find_jobs(lookups, account, restrict_to_state(selection, state)):
        found = {
            job_id: FOREIGN if is_foreign(job_id, account) else job.state if job else "gone"
            for job_id, job in piece.items()
        }
        jobs = [job_id for job_id, reason in found.items() if reason == state]
        yield jobs, {job_id: reason for job_id, reason in found.items() if reason != state}
