"""Erases a record, e.g. a person's address, from everything stored of an account.

That is every job, relation memory, request, payload and replay. It examines every job of the account and
every key of its Redis server once, in pieces. No flush of the account works meanwhile.

What was never sent about the record ends at once. A write without a definite answer may still land, so its
relation is left to the flush, and its memory stays until that is over; the erasure asks to be tried again.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from producers.job_admin.erasure_proof import (
    ErasedAccount,
    ErasureProof,
    WaitingPart,
    fingerprint,
    sum_counts,
)
from worker import background
from worker.config import refuse_secrets
from worker.contract import Relation, write_instant
from worker.contract.message import UNROUTED
from worker.errors import StoreUnavailable, Unavailable
from worker.ports import Clock, Wake
from worker.ports.deliveries import Deliveries
from worker.ports.erasure import ErasedPiece, RecordRef, UnsettledRequests, Withdrawal, record_ref
from worker.ports.job_admin import JobAdmin
from worker.ports.records import AuditEntry
from worker.ports.store import Store
from worker.ports.work import Lease, LeaseKeeper, RelationRecord
from worker.usecases.account_lease import acquire_lease, give_back

PIECE: Final = 500  # open relations that are ended at once
FLUSH_TIME: Final = 5.0  # seconds that a flush is given to read back what can land no more

Withdraw = Callable[
    [str, RecordRef, Mapping[Relation, RelationRecord], UnsettledRequests],
    Withdrawal,
]
"""Makes the writes that end a record's open relations of an account, and says which of them must wait."""

Waits = tuple[WaitingPart, Unavailable] | None
"""What of an account could not be erased yet, and the error that says when to try again."""


@dataclass(slots=True)
class _Part:
    """The erasure from one account so far: what was looked at and erased by kind, and what waits."""

    looked: Counter[str] = field(default_factory=Counter)
    erased: Counter[str] = field(default_factory=Counter)
    waits: Waits = None

    def note(self, kind: str, seen_and_gone: tuple[int, int]) -> None:
        """Count how many were looked at, and how many of them went."""
        for counts, number in zip((self.looked, self.erased), seen_and_gone, strict=True):
            counts[kind] += number


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseService:
    """Erases records, and writes to the account's audit log that it was done."""

    store: Store
    job_admin: JobAdmin
    deliveries: Deliveries
    clock: Clock
    new_id: Callable[[], str]
    withdraw: Withdraw
    now: Callable[[], int]  # the store's time, µs
    wake: Wake
    keep_lease: LeaseKeeper = background.keep_lease

    def erase(
        self,
        account: str,
        module: str,
        number: int,
        *,
        by: str,
        unrouted: bool = True,
        on_wait: Callable[[Unavailable], None] | None = None,
        rewrite_aof: bool = False,
    ) -> tuple[ErasureProof, Unavailable | None]:
        """Erase the record, and return the document of what was done, and why it is not complete, if so.

        Open relations of the record that were never sent end as superseded. What waits is a worker that has
        the account, or a write of the record that has no answer yet or may still land. With `on_wait`, which
        is told of each such error, it waits as long as the error says and tries again. With `unrouted`,
        messages that name no known account are erased too. Raises NotFound for an unknown module, and
        StoreUnavailable.
        """
        refuse_secrets(by=by)
        record, entry_id = record_ref(module, number), self.new_id()
        entry = AuditEntry(entry_id, by, "erased", f"{module} {fingerprint(record, entry_id)}")
        begun_at, parts, finished = self.now(), dict[str, _Part](), False
        error: Unavailable | None = None
        try:
            while not finished:
                self._erase_once(account, record, entry, parts, unrouted=unrouted)
                error = next((part.waits[1] for part in parts.values() if part.waits), None)
                finished = error is None or on_wait is None
                if error and on_wait:
                    on_wait(error)
                    self.clock.sleep(error.retry_after)
        finally:  # what was erased before an error is counted too
            counts = sum_counts(*(part.erased for part in parts.values()))
            if counts.total():
                self.job_admin.add_audit_entry(account, replace(entry, count=counts.total()))
        proof = ErasureProof(
            module=module,
            fingerprint=fingerprint(record, entry_id),
            audit_entry=entry_id,
            account=account,
            by=by,
            begun_at=write_instant(begun_at),
            finished_at=write_instant(self.now()),
            complete=not error,
            erased=counts,
            accounts=tuple(_as_account(name, part) for name, part in parts.items()),
            append_only_file=self.job_admin.rewrite_append_only_file() if rewrite_aof else "not asked for",
        )
        return proof, error

    def _erase_once(
        self, account: str, record: RecordRef, entry: AuditEntry, parts: dict[str, _Part], *, unrouted: bool
    ) -> None:
        """Erase what can be erased now, and note after each step what was, and in the end what waits.

        The audit log has it before anything is gone: nobody else could say so once the process had died.

        Messages that name no known account may be about the record too. The registry is not asked whether
        there are any: a failover or an older backup may have lost the inbox's entry.
        """
        for name in dict.fromkeys((account, UNROUTED) if unrouted else (account,)):
            part = parts.setdefault(name, _Part())
            try:
                with self._leased(name, entry.name) as lease:
                    self.job_admin.add_audit_entry(account, entry)
                    part.waits = self._erase_from(lease, record, part)
            except StoreUnavailable:
                raise
            except Unavailable as error:
                part.waits = WaitingPart(0, None, str(error)), error

    @contextmanager
    def _leased(self, account: str, holder: str) -> Iterator[Lease]:
        lease = acquire_lease(account, lambda: self.store.lease(account, holder), self.clock)
        try:
            with self.keep_lease(lease):
                yield lease
        finally:
            give_back(lease, self.wake)

    def _erase_from(self, lease: Lease, record: RecordRef, part: _Part) -> Waits:
        """Erase the record from one account as far as possible; return what is left."""
        account = lease.account
        unsettled = self.job_admin.unsettled_requests(account)
        waiting, jobs = self._end_open_relations(lease, record, unsettled, part)
        part.note("deliveries", self.deliveries.erase(account, record))  # while their jobs still say so
        part.note("previews", self.job_admin.erase_previews(account, record))

        def erase_jobs(after: int) -> ErasedPiece:
            return self.job_admin.erase_jobs(lease, record, after, waiting=jobs)

        def erase_rest(cursor: int) -> ErasedPiece:
            return self.job_admin.erase_rest(lease, record, cursor)

        _erase_pieces(erase_jobs, lease, part)
        if waiting:
            return _describe_waiting(waiting, unsettled.now, self._explain_waiting(account))
        in_doubt = _erase_pieces(erase_rest, lease, part)
        why = "their memory is kept until then; all else is erased: try again then"
        return _describe_waiting(in_doubt, unsettled.now, why)

    def _explain_waiting(self, account: str) -> str:
        if self.store.get_pause(account):
            return f"account {account} is paused: resume it, so that they are read back, then try again"
        return "a flush reads them back; what was not sent is erased: try again then"

    def _end_open_relations(
        self, lease: Lease, record: RecordRef, unsettled: UnsettledRequests, part: _Part
    ) -> tuple[dict[Relation, int], set[str]]:
        """End the record's open relations that were never sent, and detach those split from a star with them.

        Returns those that must wait, by until when (µs) a write of each may land, and the jobs behind them.
        """
        waiting, jobs = dict[Relation, int](), set[str]()
        found = self.job_admin.open_relations_with(lease.account, record)
        # A request may name the record though none of its relations is open any more.
        for start in range(0, max(len(found), bool(unsettled.requests)), PIECE):
            lease.renew()
            known = lease.records(found[start : start + PIECE])
            withdrawal = self.withdraw(lease.account, record, known, unsettled)
            lease.claim((), (), withdrawal.writes)
            part.erased["open"] += withdrawal.ended
            for relation, until in withdrawal.waiting.items():
                waiting[relation] = max(until, waiting.get(relation, 0))
            jobs |= withdrawal.jobs
        return waiting, jobs


def _describe_waiting(relations: Mapping[Relation, int], now: int, why: str) -> Waits:
    """Return what waits: relations, by until when (µs) a write of each may still land; None for none.

    `now` (µs) is when that was read; `why` is what has to happen to them.
    """
    if not relations:
        return None
    count, until = len(relations), max(relations.values())
    lands = "can land no more" if until <= now else f"may land until {write_instant(until)}"
    error = Unavailable(
        f"relations of the record with an unfinished write: {count}, the last of which {lands}; {why}",
        retry_after=FLUSH_TIME + max(0, until - now) / 1e6,
    )
    return WaitingPart(count, write_instant(until), why), error


def _as_account(account: str, part: _Part) -> ErasedAccount:
    waits = part.waits[0] if part.waits else None
    looked, erased = sum_counts(part.looked), sum_counts(part.erased)
    return ErasedAccount(account=account, looked_at=looked, erased=erased, waits=waits)


def _erase_pieces(
    erase_piece: Callable[[int], ErasedPiece], lease: Lease, part: _Part
) -> Mapping[Relation, int]:
    """Erase one piece after the other, until all are done, and count; return what is in doubt."""
    in_doubt, cursor = dict[Relation, int](), 0
    while True:
        lease.renew()
        piece = erase_piece(cursor)
        part.erased.update(piece.counts)
        part.looked.update(piece.looked)
        in_doubt |= piece.in_doubt
        if not (cursor := piece.next):
            return in_doubt
