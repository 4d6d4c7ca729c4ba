"""Erasing a record, e.g. a person's address: out of every job, memory, request, payload and replay of an account.

Costs one look at every job of the account and at every key of its server, in pieces. No flush works meanwhile.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Final

from producers.means import Means
from worker.background import keep_lease
from worker.errors import Unavailable
from worker.ports import ERASED, UNROUTED, AuditEntry, Lease, RecordRef, record_ref

PATIENCE: Final = 30.0  # seconds the account is waited for
PAUSE: Final = 0.2  # seconds between two looks at it
PIECE: Final = 500  # open relations ended at once


def erase(means: Means, account: str, module: str, number: int, *, by: str) -> Mapping[str, int]:
    """Counts of what went, by kind. What is open and about the record ends superseded; the same again finds nothing.

    Raises NotFound for an unknown module, and Unavailable while the account is at work, or a request of it has no answer yet.
    """
    who, name, counts = record_ref(module, number), means.name(), Counter[str]()
    try:
        _erase(means, account, who, name, counts)
        if (
            account != UNROUTED and UNROUTED in means.store.accounts()
        ):  # messages that name no account may be about it
            _erase(means, UNROUTED, who, name, counts)
    finally:  # also of what was done of it
        told = f"{module} {fingerprint(who, name)}"
        if counts or sys.exc_info()[0] is None:
            means.acts.add_audit_entry(account, AuditEntry(name, by, "erased", told, count=counts.total()))
    return counts


def _erase(means: Means, account: str, who: RecordRef, name: str, counts: Counter[str]) -> None:
    lease = _lease(means, account, name)
    try:
        with keep_lease(lease):
            if means.acts.count_unsettled(account):
                raise Unavailable(_under_way(means, account), retry_after=180.0)
            counts.update(_end_open(means, lease, who))
            counts.update(_go_through(means.acts.erase_jobs, lease, who))
            counts.update(_go_through(means.acts.erase_rest, lease, who))
    finally:
        lease.release()


def _under_way(means: Means, account: str) -> str:
    if means.store.get_pause(account):
        return f"account {account} is paused with a request without an answer; resume it, so that it is read back, then try again"
    return f"account {account} has a request without an answer; try again in a few minutes"


def fingerprint(who: RecordRef, audit_entry: str) -> str:
    """What the audit says instead of the id: whoever asks about one can see whether it was that."""
    return blake2b(
        f"{who.module}:{who.number}".encode(), salt=audit_entry[-16:].encode(), digest_size=9
    ).hexdigest()


def _lease(means: Means, account: str, holder: str) -> Lease:
    waited = 0.0
    while (lease := means.store.lease(account, holder)) is None:
        if waited >= PATIENCE:
            raise Unavailable(
                f"account {account} has been at work for {PATIENCE:g} s; try again", retry_after=PATIENCE
            )
        means.clock.sleep(PAUSE)
        waited += PAUSE
    return lease


def _end_open(means: Means, lease: Lease, who: RecordRef) -> Mapping[str, int]:
    """End the record's open relations, and take it out of what was split from one star with them."""
    counts, found = Counter[str](), iter(means.acts.open_relations_with(lease.account, who))
    while piece := list(islice(found, PIECE)):
        ended = [relation for relation in piece if who.is_part_of(relation)]
        lease.renew()
        lease.claim((), (), means.withdraw(lease.account, ended, lease.records(piece), by=ERASED))
        counts["open"] += len(ended)
    return counts


def _go_through(
    look: Callable[[Lease, RecordRef, int], tuple[int, Mapping[str, int]]], lease: Lease, who: RecordRef
) -> Mapping[str, int]:
    """All pieces of it, one after the other."""
    counts, after, begun = Counter[str](), 0, False
    while after or not begun:
        lease.renew()
        after, found = look(lease, who, after)
        counts.update(found)
        begun = True
    return counts
