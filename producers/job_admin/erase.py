"""Erases a record, e.g. a person's address, from everything stored of an account.

That is every job, relation memory, request, payload and replay. It examines every job of the account and
every key of its Redis server once, in pieces. No flush of the account works meanwhile.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Final

from worker.background import keep_lease
from worker.contract import Relation
from worker.errors import Unavailable
from worker.ports import (
    UNROUTED,
    AuditEntry,
    Clock,
    JobAdmin,
    Lease,
    RecordRef,
    RelationRecord,
    Store,
    Writes,
    record_ref,
)

MAX_WAIT: Final = 30.0  # seconds to wait for the account's lease
POLL: Final = 0.2  # seconds between two attempts to get it
PIECE: Final = 500  # open relations that are ended at once

ErasePiece = Callable[[Lease, RecordRef, int], tuple[int, Mapping[str, int]]]
"""Erases a record from one piece, from a cursor on; returns the next cursor (0: done) and counts by kind."""


Withdraw = Callable[[str, Sequence[Relation], Mapping[Relation, RelationRecord]], Writes]
"""Makes the writes that end open relations of an account, and detach the others of their star."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseService:
    """Erases records, and writes to the account's audit log that it was done."""

    store: Store
    job_admin: JobAdmin
    clock: Clock
    new_id: Callable[[], str]
    withdraw: Withdraw

    def erase(self, account: str, module: str, number: int, *, by: str) -> Mapping[str, int]:
        """Erase the record and return counts of what was changed, by kind; a second call finds nothing.

        Open relations of the record end as superseded. Raises NotFound for an unknown module, and Unavailable
        while a worker has the account, or while one of its requests has no answer yet.
        """
        record, entry_id = record_ref(module, number), self.new_id()
        counts, finished = Counter[str](), False
        try:
            self._erase_from(account, record, entry_id, counts)
            if account != UNROUTED:
                # Messages that name no known account may be about the record too. The registry is not asked
                # whether there are any: a failover or an older backup may have lost the inbox's entry.
                self._erase_from(UNROUTED, record, entry_id, counts)
            finished = True
        finally:  # what was erased before an error is audited too
            if counts or finished:
                what = f"{module} {fingerprint(record, entry_id)}"
                entry = AuditEntry(entry_id, by, "erased", what, count=counts.total())
                self.job_admin.add_audit_entry(account, entry)
        return counts

    def _erase_from(self, account: str, record: RecordRef, holder: str, counts: Counter[str]) -> None:
        """Erase the record from one account, and add to `counts` after each step."""
        lease = self._acquire_lease(account, holder)
        try:
            with keep_lease(lease):
                if self.job_admin.count_unsettled(account):
                    raise Unavailable(self._explain_unsettled(account), retry_after=180.0)
                counts.update(self._end_open_relations(lease, record))
                counts.update(_erase_pieces(self.job_admin.erase_jobs, lease, record))
                counts.update(_erase_pieces(self.job_admin.erase_rest, lease, record))
        finally:
            lease.release()

    def _acquire_lease(self, account: str, holder: str) -> Lease:
        waited = 0.0
        while (lease := self.store.lease(account, holder)) is None:
            if waited >= MAX_WAIT:
                raise Unavailable(
                    f"account {account} has been at work for {MAX_WAIT:g} s; try again", retry_after=MAX_WAIT
                )
            self.clock.sleep(POLL)
            waited += POLL
        return lease

    def _explain_unsettled(self, account: str) -> str:
        if self.store.get_pause(account):
            return (
                f"account {account} is paused with a request without an answer; "
                "resume it, so that it is read back, then try again"
            )
        return f"account {account} has a request without an answer; try again in a few minutes"

    def _end_open_relations(self, lease: Lease, record: RecordRef) -> Mapping[str, int]:
        """End the record's open relations, and detach those that were split from one star with them."""
        counts, found = Counter[str](), iter(self.job_admin.open_relations_with(lease.account, record))
        while piece := list(islice(found, PIECE)):
            ended = [relation for relation in piece if record.is_part_of(relation)]
            lease.renew()
            writes = self.withdraw(lease.account, ended, lease.records(piece))
            lease.claim((), (), writes)
            counts["open"] += len(ended)
        return counts


def fingerprint(record: RecordRef, entry_id: str) -> str:
    """Return what the audit log shows instead of the id.

    Whoever knows an id can check whether it was that one.
    """
    content, salt = f"{record.module}:{record.number}".encode(), entry_id[-16:].encode()
    return blake2b(content, salt=salt, digest_size=9).hexdigest()


def _erase_pieces(erase_piece: ErasePiece, lease: Lease, record: RecordRef) -> Mapping[str, int]:
    """Erase the record from one piece after the other, until all are done."""
    counts, cursor = Counter[str](), 0
    while True:
        lease.renew()
        cursor, found = erase_piece(lease, record, cursor)
        counts.update(found)
        if not cursor:
            return counts
