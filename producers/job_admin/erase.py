"""Erases a record, e.g. a person's address, from everything stored of an account.

That is every job, relation memory, request, payload and replay. It examines every job of the account and
every key of its Redis server once, in pieces. No flush of the account works meanwhile.

What was never sent about the record ends at once. A write without a definite answer may still land, so its
relation is left to the flush, and its memory stays until that is over; the erasure asks to be tried again.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from worker import background
from worker.config import refuse_secrets
from worker.contract import Relation, write_instant
from worker.errors import StoreUnavailable, Unavailable
from worker.ports import (
    UNROUTED,
    AuditEntry,
    Clock,
    Deliveries,
    ErasedPiece,
    JobAdmin,
    Lease,
    LeaseKeeper,
    RecordRef,
    RelationRecord,
    Store,
    UnsettledRequests,
    Withdrawal,
    record_ref,
)
from worker.usecases.account_lease import acquire_lease

PIECE: Final = 500  # open relations that are ended at once
FLUSH_TIME: Final = 5.0  # seconds that a flush is given to read back what can land no more

REACHES_NOT: Final = (
    "the CRM itself",
    "the append-only file, until it is rewritten, and those of replicas",
    "backups, until they expire",
    "logs, of proxies too, until they expire",
    "files of imports and of producers",
    "messages that no worker has taken yet",
)

Withdraw = Callable[
    [str, RecordRef, Mapping[Relation, RelationRecord], UnsettledRequests],
    Withdrawal,
]
"""Makes the writes that end a record's open relations of an account, and says which of them must wait."""


class _Remainder(NamedTuple):
    """What keeps an erasure from finishing: relations by until when (µs) a write of each may still land.

    `now` (µs) is when that was read; `why` is what has to happen to them.
    """

    relations: Mapping[Relation, int]
    now: int
    why: str

    def as_error(self) -> Unavailable:
        """Return the error that tells how many there are and when to try again."""
        count, until = len(self.relations), max(self.relations.values())
        is_over = until <= self.now
        lands = "can land no more" if is_over else f"may land until {write_instant(until)}"
        retry_after = FLUSH_TIME + max(0, until - self.now) / 1e6
        return Unavailable(
            f"relations of the record with an unfinished write: {count}, "
            f"the last of which {lands}; {self.why}",
            retry_after=retry_after,
        )


class WaitingPart(msgspec.Struct, frozen=True):
    """What of an account could not be erased yet: how many relations, until when (null: unknown), and why."""

    relations: int
    until: str | None
    why: str


class ErasedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at in an account, and what was erased, by kind; and what waits."""

    account: str
    looked_at: Mapping[str, int]
    erased: Mapping[str, int]
    waits: WaitingPart | None = None


class ErasureProof(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did: a document without personal data.

    Instead of the id it has the fingerprint that stands in the audit log under `audit_entry`: whoever knows
    the id can check it. `append_only_file` says what became of its rewriting, if that was asked for.
    """

    module: str
    fingerprint: str
    audit_entry: str
    account: str
    by: str
    begun_at: str
    finished_at: str
    complete: bool
    erased: Mapping[str, int]
    accounts: tuple[ErasedAccount, ...]
    append_only_file: str
    reaches_not: tuple[str, ...] = REACHES_NOT


def add_proofs(earlier: ErasureProof, later: ErasureProof) -> ErasureProof:
    """Return the proof of two attempts as that of one erasure: what either looked at and erased is added."""
    before = {part.account: part for part in earlier.accounts}
    return msgspec.structs.replace(
        later,
        begun_at=earlier.begun_at,
        erased=_sum(earlier.erased, later.erased),
        accounts=tuple(
            msgspec.structs.replace(
                part,
                looked_at=_sum(before[part.account].looked_at, part.looked_at),
                erased=_sum(before[part.account].erased, part.erased),
            )
            if part.account in before
            else part
            for part in later.accounts
        ),
    )


def _sum(*counts: Mapping[str, int]) -> Counter[str]:
    """Return the sum of counts by kind, in the order of the kinds, without those of nothing."""
    total = sum(map(Counter, counts), Counter[str]())
    return Counter(dict(sorted(total.items())))


@dataclass(slots=True)
class _Progress:
    """An erasure under way: what was looked at and erased of each account; and what waits, with the error."""

    looked: dict[str, Counter[str]] = field(default_factory=dict)
    erased: dict[str, Counter[str]] = field(default_factory=dict)
    waits: dict[str, tuple[WaitingPart, Unavailable]] = field(default_factory=dict)

    def counts(self) -> Counter[str]:
        """Return what was erased of all of them."""
        return _sum(*self.erased.values())

    def waiting(self) -> Unavailable | None:
        """Return the error that says what the first account waits for, None if all is done."""
        return next((error for _, error in self.waits.values()), None)

    def of_account(self, account: str) -> ErasedAccount:
        """Return what became of one of them."""
        waits, _ = self.waits.get(account, (None, None))
        looked, erased = _sum(self.looked[account]), _sum(self.erased[account])
        return ErasedAccount(account=account, looked_at=looked, erased=erased, waits=waits)


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
        begun_at, progress, finished = self.now(), _Progress(), False
        try:
            while not finished:
                self._erase_once(account, record, entry_id, progress, unrouted=unrouted)
                error = progress.waiting()
                finished = error is None or on_wait is None
                if error and on_wait:
                    on_wait(error)
                    self.clock.sleep(error.retry_after)
        finally:  # what was erased before an error is audited too
            counts = progress.counts()
            if counts.total() or (finished and not progress.waits):
                what = f"{module} {fingerprint(record, entry_id)}"
                entry = AuditEntry(entry_id, by, "erased", what, count=counts.total())
                self.job_admin.add_audit_entry(account, entry)
        proof = ErasureProof(
            module=module,
            fingerprint=fingerprint(record, entry_id),
            audit_entry=entry_id,
            account=account,
            by=by,
            begun_at=write_instant(begun_at),
            finished_at=write_instant(self.now()),
            complete=not progress.waits,
            erased=counts,
            accounts=tuple(map(progress.of_account, progress.erased)),
            append_only_file=self.job_admin.rewrite_append_only_file() if rewrite_aof else "not asked for",
        )
        return proof, progress.waiting()

    def _erase_once(
        self, account: str, record: RecordRef, holder: str, progress: _Progress, *, unrouted: bool
    ) -> None:
        """Erase what can be erased now, and add to the progress after each step, with what waits.

        Messages that name no known account may be about the record too. The registry is not asked whether
        there are any: a failover or an older backup may have lost the inbox's entry.
        """
        progress.waits.clear()
        for name in dict.fromkeys((account, UNROUTED) if unrouted else (account,)):
            looked, counts = (part.setdefault(name, Counter()) for part in (progress.looked, progress.erased))
            try:
                left = self._erase_from(name, record, holder, counts, looked)
            except StoreUnavailable:
                raise
            except Unavailable as error:
                progress.waits[name] = WaitingPart(0, None, str(error)), error
                continue
            if left.relations:
                until = write_instant(max(left.relations.values()))
                waits = WaitingPart(len(left.relations), until, left.why)
                progress.waits[name] = waits, left.as_error()

    def _erase_from(
        self, account: str, record: RecordRef, holder: str, counts: Counter[str], looked: Counter[str]
    ) -> _Remainder:
        """Erase the record from one account as far as possible; return what is left."""
        lease = acquire_lease(account, lambda: self.store.lease(account, holder), self.clock)
        try:
            with self.keep_lease(lease):
                unsettled = self.job_admin.unsettled_requests(account)
                waiting, jobs = self._end_open_relations(lease, record, unsettled, counts)

                self._erase_deliveries(account, record, counts, looked)

                def erase_jobs(after: int) -> ErasedPiece:
                    return self.job_admin.erase_jobs(lease, record, after, waiting=jobs)

                _erase_pieces(erase_jobs, lease, counts, looked)
                if waiting:
                    return _Remainder(waiting, unsettled.now, self._explain_waiting(account))
                in_doubt = _erase_pieces(
                    lambda cursor: self.job_admin.erase_rest(lease, record, cursor), lease, counts, looked
                )
                return _Remainder(
                    in_doubt,
                    unsettled.now,
                    "their memory is kept until then; all else is erased: try again then",
                )
        finally:
            lease.release()

    def _erase_deliveries(
        self, account: str, record: RecordRef, counts: Counter[str], looked: Counter[str]
    ) -> None:
        """Forget the deliveries to webhooks that are about the record, while their jobs still say so."""
        seen, gone = self.deliveries.erase(account, record)
        looked["deliveries"] += seen
        counts["deliveries"] += gone

    def _explain_waiting(self, account: str) -> str:
        if self.store.get_pause(account):
            return f"account {account} is paused: resume it, so that they are read back, then try again"
        return "a flush reads them back; what was not sent is erased: try again then"

    def _end_open_relations(
        self, lease: Lease, record: RecordRef, unsettled: UnsettledRequests, counts: Counter[str]
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
            counts["open"] += withdrawal.ended
            for relation, until in withdrawal.waiting.items():
                waiting[relation] = max(until, waiting.get(relation, 0))
            jobs |= withdrawal.jobs
        return waiting, jobs


def fingerprint(record: RecordRef, entry_id: str) -> str:
    """Return what the audit log shows instead of the id.

    Whoever knows an id can check whether it was that one.
    """
    content, salt = f"{record.module}:{record.number}".encode(), entry_id[-16:].encode()
    return blake2b(content, salt=salt, digest_size=9).hexdigest()


def _erase_pieces(
    erase_piece: Callable[[int], ErasedPiece], lease: Lease, counts: Counter[str], looked: Counter[str]
) -> Mapping[Relation, int]:
    """Erase one piece after the other, until all are done, and count; return what is in doubt."""
    in_doubt, cursor = dict[Relation, int](), 0
    while True:
        lease.renew()
        piece = erase_piece(cursor)
        counts.update(piece.counts)
        looked.update(piece.looked)
        in_doubt |= piece.in_doubt
        if not (cursor := piece.next):
            return in_doubt
