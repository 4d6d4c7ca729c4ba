"""The store, its leases and people's acts, with every call reported to the history checker."""

from collections.abc import Callable, Collection, Sequence
from itertools import product
from typing import Any

import msgspec

from tests.torture.history_checker import HistoryChecker
from worker.contract import Change, Relation
from worker.errors import LeaseLost
from worker.planner.actions import Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.relation_state import RelationRecord
from worker.ports.erasure import ERASED, ErasedPiece, RecordRef
from worker.ports.job_admin import AdminResult
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry
from worker.ports.references import LookUpResult
from worker.ports.store import AcceptResult, IntakeBounds, Submission
from worker.ports.work import DeleteBrake, Writes

READS = (
    "records",
    "guarded_relations",
    "read_look_ups",
    "known_records",
    "forget_records",
    "note_request",  # which the next step writes
)  # methods of a lease that anyone may call


class CheckedStore:
    """A store whose calls are checked; methods that are not here are passed on as they are."""

    def __init__(
        self,
        inner: Any,
        checker: HistoryChecker,
        *,
        upsert: bool,
        name_records: Callable[[Change], Change] = lambda change: change,
    ) -> None:
        self._inner, self.checker, self.upsert = inner, checker, upsert
        self._name_records = name_records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def accept(self, account: str, submissions: Sequence[Submission], bounds: IntakeBounds) -> AcceptResult:
        """Record new changes; the store gets them with the names of records that are to be looked up."""
        named = [
            msgspec.structs.replace(each, change=self._name_records(each.change)) for each in submissions
        ]
        result: AcceptResult = self._inner.accept(account, named, bounds)
        self.checker.record_accept(account, submissions, result)
        return result

    def lease(self, account: str, holder: str) -> "CheckedLease | None":
        """Check that nobody else holds the account."""
        before = self.checker.holder(account)
        inner = self._inner.lease(account, holder)
        if inner is None:
            return None
        if before not in ("", holder):
            self.checker.wrong.append(f"{account} was leased to {holder} while {before} holds it")
        self.checker.record_lease(account, holder)
        return CheckedLease(inner, account, holder, self)

    def requeue(self, account: str, jobs: Sequence[str], **options: Any) -> tuple[list[str], bool]:
        """Record which jobs are replayed: of those that are named, some have ended again by now."""
        before = {job: self._inner.get_job(job) for job in jobs}
        result: tuple[list[str], bool] = self._inner.requeue(account, jobs, **options)
        for name in result[0]:
            if before[name].state == "failed" and self._inner.get_job(name).state == "queued":
                self.checker.record_replay(name, before[name].failed)
        return result

    def due_accounts(self, accounts: Sequence[str], **known: Any) -> list[str]:
        """Remove expired leases before the sweep looks."""
        for account in accounts:
            self.checker.holder(account)
        due: list[str] = self._inner.due_accounts(accounts, **known)
        return due


class CheckedLease:
    """A lease whose calls are checked."""

    def __init__(self, inner: Any, account: str, holder: str, store: CheckedStore) -> None:
        self.inner, self._account, self._holder = inner, account, holder
        self._store, self._checker = store, store.checker

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        return self._checked(name, value) if callable(value) else value

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None = None) -> int | Pause:
        """Check that the request may leave."""
        signed: int | Pause = self._checked("begin", self.inner.begin)(request_id, request, brake)
        if not isinstance(signed, Pause):
            paused = self._store.get_pause(self._account) is not None
            self._checker.record_begin(self._account, request, paused=paused, upsert=self._store.upsert)
        return signed

    def write_look_ups(self, results: Sequence[LookUpResult], *records: Any, **options: Any) -> None:
        """Record what replaces have to remove that waited until now: some were ended by people meanwhile."""
        read = {result.job for result in results if result.related is not None}
        before = {job: self._store.get_job(job) for job in read}
        self._checked("write_look_ups", self.inner.write_look_ups)(results, *records, **options)
        for entry in self._checker.accepted.get(self._account, ()):
            if entry.job in read and (after := self._store.get_job(entry.job)) != before[entry.job]:
                relations = [Relation(after.type, *pair) for pair in product(after.parents, after.children)]
                self._checker.record_read(
                    entry, [each for each in relations if each not in entry.change.relations]
                )

    def renew(self) -> None:
        """Record the new time of expiry."""
        self._checked("renew", self.inner.renew)()
        self._checker.record_lease(self._account, self._holder)

    def release(self, **waits: float) -> float | None:
        """Record the end of the lease; a repeated call finds it released already."""
        was_holder = self._checker.holder(self._account) == self._holder
        try:
            next_flush: float | None = self._checked("release", self.inner.release)(**waits)
            return next_flush
        finally:
            if was_holder:
                del self._checker.leases[self._account]

    def set_pause(self, pause: Pause) -> None:
        """Pass it on unchecked: a holder that lost the lease may pause too, its credentials are as bad."""
        self.inner.set_pause(pause)

    def _checked(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            holder = self._checker.holder(self._account)
            try:
                result = call(*args, **kwargs)
            except LeaseLost:
                if holder == self._holder and name != "release":
                    self._checker.wrong.append(
                        f"{name} of {self._account} was refused to its holder {holder}"
                    )
                raise
            if name not in READS:
                self._checker.require_holder(self._account, self._holder, name)
            for argument in args:
                # A claim that answers False has written nothing: a job was cancelled meanwhile.
                if isinstance(argument, Writes) and result is not False:
                    in_doubt = {each.relation for each in argument.outcomes if self._is_in_doubt(each)}
                    self._checker.record_outcomes(argument.outcomes, in_doubt=in_doubt)
            return result

        return checked

    def _is_in_doubt(self, outcome: RelationOutcome) -> bool:
        record, _ = self._store.relation_history(self._account, outcome.relation)
        return record.doubt is not None and record.doubt.until > self._checker.now()


class CheckedJobAdmin:
    """People's acts on jobs, recorded; methods that are not here are passed on as they are."""

    def __init__(self, inner: Any, store: CheckedStore) -> None:
        self._inner, self._store, self._checker = inner, store, store.checker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def cancel(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """Record what was cancelled."""
        result: AdminResult = self._inner.cancel(account, jobs, audit_entry)
        for entry in self._checker.accepted.get(account, ()):
            if entry.job in result.done:
                self._checker.cancel(entry)
        return result

    def erase_jobs(
        self, lease: Any, who: RecordRef, after: int, *, waiting: Collection[str] = ()
    ) -> ErasedPiece:
        """Record what of the inbox was ended: one call erases some jobs, and none may follow."""
        queued = [
            (entry, job)
            for entry in self._checker.accepted.get(lease.account, ())
            if (job := self._store.get_job(entry.job)).state == "queued"
        ]
        piece: ErasedPiece = self._inner.erase_jobs(_innermost(lease), who, after, waiting=waiting)
        for entry, before in queued:
            if self._store.get_job(entry.job).counts != before.counts:
                named = [relation for relation in entry.change.relations if who.is_part_of(relation)]
                self._checker.end_by_hand(entry.job, named, ERASED)
        return piece

    def erase_rest(self, lease: Any, who: RecordRef, cursor: int) -> ErasedPiece:
        """Record of which relations nothing is remembered any more."""
        account = lease.account
        piece: ErasedPiece = self._inner.erase_rest(_innermost(lease), who, cursor)
        accepted = self._checker.accepted.get(account, ())
        relations = {relation for entry in accepted for relation in entry.change.relations}
        for relation in filter(who.is_part_of, relations):
            if self._store.relation_history(account, relation) == (RelationRecord(), ()):
                self._checker.forget(account, relation)
        return piece


def _innermost(lease: Any) -> Any:
    """Return the store's own lease, without what checks and interrupts it."""
    while hasattr(lease, "inner"):
        lease = lease.inner
    return lease
