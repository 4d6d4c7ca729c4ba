"""Cancels queued changes and dismisses failed jobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from producers.job_admin.selection import (
    FOREIGN,
    MAX_JOBS,
    Selection,
    describe_selection,
    judge_jobs,
    name_relations,
    pick_failures,
)
from worker.config import refuse_secrets
from worker.ports.job_admin import AdminResult, JobAdmin
from worker.ports.queries import Queries
from worker.ports.records import AuditEntry, JobState

CANCELLABLE: Final[tuple[JobState, ...]] = ("queued", "parked", "held", "retrying")
DISMISSABLE: Final[tuple[JobState, ...]] = ("failed",)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAdminService:
    """Cancels and dismisses jobs of an account, and writes who did so to its audit log."""

    queries: Queries
    job_admin: JobAdmin
    new_id: Callable[[], str]
    cancel_taken: Callable[[str, Sequence[str], AuditEntry], AdminResult]

    def cancel(self, account: str, selection: Selection, *, by: str, note: str = "") -> AdminResult:
        """End changes as superseded that wait in the inbox, or were taken and of which nothing is under way.

        Raises InvalidChange for a part of a change.
        """
        entry = self._audit_entry("cancelled", selection, by, note)
        jobs, taken, foreign = list[str](), list[str](), dict[str, str]()
        judged = judge_jobs(self.queries, account, selection, CANCELLABLE)
        for job_id, job, reason in islice(judged, MAX_JOBS):
            if reason == FOREIGN:
                foreign[job_id] = reason
                continue
            jobs.append(job_id)
            if job and not reason and job.state not in ("queued", "parked"):
                taken.append(job_id)
        ended = self.cancel_taken(account, taken, entry)
        result = self.job_admin.cancel(account, jobs, entry)
        # What was taken may have gone on since: why it was refused holds while it could be cancelled still.
        why = {
            job: ended.refused.get(job, state)
            for job, state in result.refused.items()
            if state in CANCELLABLE
        }
        return result._replace(refused={**result.refused, **why, **foreign})

    def dismiss(self, account: str, selection: Selection, *, by: str, note: str = "") -> AdminResult:
        """Take failed jobs, or the failed relations of them that are selected, off the list that waits.

        They stay failed, and can still be replayed by their ids.
        """
        entry = self._audit_entry("dismissed", selection, by, note)
        jobs, refused, only = list[str](), dict[str, str](), dict[str, tuple[str, ...]]()
        judged = judge_jobs(self.queries, account, selection, DISMISSABLE)
        for job_id, job, reason in islice(judged, MAX_JOBS):
            if reason or job is None:
                refused[job_id] = reason
                continue
            jobs.append(job_id)
            picked = [failure.relation for failure in pick_failures(job, selection)]
            if names := name_relations(job, picked):
                only[job_id] = names
        result = self.job_admin.dismiss(account, jobs, entry, only=only)
        return result._replace(refused={**result.refused, **refused})

    def _audit_entry(self, act: str, selection: Selection, by: str, note: str) -> AuditEntry:
        what = describe_selection(selection)
        refuse_secrets(selection=what, by=by, note=note)
        return AuditEntry(self.new_id(), by, act, what, note)
