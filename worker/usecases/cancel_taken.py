"""The use case: end changes that a flush has taken and that nobody is sending. Under the account's lease.

What waits in the inbox ends without a lease (`JobAdmin.cancel`). What was taken is among the open relations,
perhaps together with other changes: these go on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Final

import msgspec

from worker.contract import Relation
from worker.errors import Unavailable
from worker.ports import Clock, Wake
from worker.ports.job_admin import CANCELLED, AdminResult, JobAdmin
from worker.ports.queries import Queries
from worker.ports.records import AuditEntry, JobRecord
from worker.ports.store import Store
from worker.ports.work import Lease, LeaseKeeper
from worker.usecases.account_lease import give_back, wait_for_lease
from worker.usecases.flush_context import FlushPolicy
from worker.usecases.withdrawal import withdraw_jobs

MAX_WAIT: Final = 5.0  # seconds to wait for the account's lease
RELATIONS_AT_ONCE: Final = 5000
AT_WORK: Final = "at work"  # a worker has the account for longer than one waits
UNFINISHED: Final = "unfinished"  # a write of it has no answer yet, or is half done
OVERRULED: Final = "overruled others"  # changes ended because of it, and nobody would do what they asked for
NOT_OPEN: Final = "not open"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenJobs:
    """Cancels jobs that were taken; `policy_of` gives an account's policies."""

    store: Store
    queries: Queries
    job_admin: JobAdmin
    policy_of: Callable[[str], FlushPolicy]
    clock: Clock
    keep_lease: LeaseKeeper
    new_id: Callable[[], str]
    wake: Wake

    def cancel(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """End the account's jobs of which nothing is under way or in doubt; say why the others go on.

        The audit entry counts those that have ended, also when the lease is lost before the others have.
        """
        take = partial(self.store.lease, account, self.new_id())
        lease = wait_for_lease(take, self.clock, max_wait=MAX_WAIT) if jobs else None
        if lease is None:
            return AdminResult((), dict.fromkeys(jobs, AT_WORK))
        done, refused = list[str](), dict[str, str]()
        try:
            with self.keep_lease(lease):
                for piece in self._pieces(jobs):
                    result = self._cancel_piece(lease, piece, audit_entry)
                    done += result.done
                    refused |= result.refused
        finally:
            give_back(lease, self.wake)
        gone = {job: "gone" for job in jobs if job not in done and job not in refused}
        return AdminResult(tuple(done), {**refused, **gone})

    def _pieces(self, jobs: Sequence[str]) -> Iterator[Mapping[str, JobRecord]]:
        piece, size = dict[str, JobRecord](), 0
        for job_id, job in self.queries.get_jobs(jobs).items():
            piece[job_id] = job
            size += job.total
            if size >= RELATIONS_AT_ONCE:
                yield piece
                piece, size = {}, 0
        if piece:
            yield piece

    def _cancel_piece(
        self, lease: Lease, jobs: Mapping[str, JobRecord], audit_entry: AuditEntry
    ) -> AdminResult:
        account = lease.account
        try:
            unsettled = self.job_admin.unsettled_requests(account)
        except Unavailable:  # a worker died with them; the next flush goes on
            return AdminResult((), dict.fromkeys(jobs, AT_WORK))
        relations = list(dict.fromkeys(relation for job in jobs.values() for relation in job.relations))
        known = lease.records(relations)
        overruling = self._find_overruling(account, jobs, [each for each in relations if known[each].open])
        free = jobs.keys() - overruling
        withdrawal = withdraw_jobs(free, known, unsettled, self.policy_of(account), by=CANCELLED)
        if withdrawal.done:
            counted = msgspec.structs.replace(audit_entry, count=len(withdrawal.done))
            lease.claim((), (), replace(withdrawal.writes, audit_entry=counted))
        refused = dict.fromkeys(free - withdrawal.done, NOT_OPEN)
        refused |= dict.fromkeys(withdrawal.unfinished, UNFINISHED) | dict.fromkeys(overruling, OVERRULED)
        return AdminResult(tuple(job for job in jobs if job in withdrawal.done), refused)

    def _find_overruling(
        self, account: str, jobs: Mapping[str, JobRecord], relations: Sequence[Relation]
    ) -> set[str]:
        """Return the jobs by which others ended: nobody would do what these asked for."""
        remembered = self.queries.relation_events(account, relations)
        return {
            event.detail
            for event in chain.from_iterable(remembered.values())
            if event.result == "superseded" and event.detail in jobs
        }
