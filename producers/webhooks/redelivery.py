"""Reads kept deliveries again by today's rules: shows what that would change, and does it.

The event ids are those of the first time, so that what was made then is not made again.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec

from producers.webhooks.mapping import MappedChange
from producers.webhooks.record import MappedDelivery, map_delivery, record_delivery
from producers.webhooks.request_parts import read_kept
from worker.config import Source, refuse_secrets
from worker.contract import Change, account_of, check, check_each
from worker.errors import Fault, InvalidChange, NotFound
from worker.ports.deliveries import Deliveries, Delivery, DeliveryOutcome, KeptDelivery
from worker.ports.job_admin import JobAdmin
from worker.ports.queries import Queries
from worker.ports.records import AuditEntry, JobRecord
from worker.ports.store import Receipt
from worker.usecases.intake import Intake

MAX_REMAPPED: Final = 500  # deliveries of one call
SkipReason = Literal["gone", "refused", "cut", "no_source", "elsewhere"]
SKIPPED: Final[Mapping[SkipReason, str]] = {
    "gone": "is not kept any more",
    "refused": "was refused, so nothing of it is kept",
    "cut": "was too large to be kept as a whole, or quotes a secret",
    "no_source": "belongs to a source that has left the settings",
    "elsewhere": "would go into an account that this key is not for",
}
"""Why a delivery is not read again."""
LOST: Final = "is that of {0}, which asks for something else and stays; this change is lost, name another id"


class RemappedChange(NamedTuple):
    """A change that today's rules make: the rule, and the job that it is or becomes.

    `is_new` says whether that job is made now. One that exists already stays as it is, also if the change
    `differs` from it.
    """

    rule: str
    change: Change
    job: str = ""
    is_new: bool = True
    differs: bool = False


class Remapped(NamedTuple):
    """What became, or would become, of a delivery by today's rules; or why it was skipped.

    `now` is the delivery with the outcome of today.
    """

    id: str
    was: DeliveryOutcome | None = None
    now: Delivery | None = None
    changes: tuple[RemappedChange, ...] = ()
    skipped: SkipReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryService:
    """Reads deliveries again, and writes to the accounts' audit logs who did so."""

    deliveries: Deliveries
    queries: Queries
    job_admin: JobAdmin
    intake: Intake
    list_sources: Callable[[], Mapping[str, Source]]

    def remap(
        self, ids: Sequence[str], *, by: str, dry_run: bool, allowed: Collection[str] | None = None
    ) -> Iterator[Remapped]:
        """Yield what became of each delivery, at most MAX_REMAPPED; with `dry_run` what would become of it.

        Changes without a time of their own occurred when the delivery came first. Whoever may act on the
        `allowed` accounts only sees none of the others. Raises Unavailable when time can cure it.
        """
        refuse_secrets(by=by)
        for delivery_id in dict.fromkeys(ids[:MAX_REMAPPED]):
            yield self._remap(delivery_id, by, dry_run, allowed)

    def _remap(self, delivery_id: str, by: str, dry_run: bool, allowed: Collection[str] | None) -> Remapped:
        kept = self.deliveries.get(delivery_id)
        if kept is None or not is_visible(kept.delivery, allowed):
            return Remapped(delivery_id, skipped="gone")
        source, was = self.list_sources().get(kept.delivery.source), kept.delivery.outcome
        reason = _reason_to_skip(kept.delivery, source)
        if source is None or reason:
            return Remapped(delivery_id, was, skipped=reason)
        mapped = self._map(source, kept)
        if allowed is not None and any(item.change.account not in allowed for item in mapped.changes):
            return Remapped(delivery_id, was, skipped="elsewhere")
        changes = self._find_jobs(mapped)
        if not dry_run:
            changes, error = self._accept(kept.delivery, changes, by)
            mapped = mapped.failed(error) if error else mapped
        now = self._record(source, kept, mapped, changes)
        if not dry_run:
            self._finish(kept.delivery, now, by)
        return Remapped(delivery_id, was, now, changes)

    def _map(self, source: Source, kept: KeptDelivery) -> MappedDelivery:
        """Return what today's rules make of a delivery, checked as intake does."""
        mapped = map_delivery(source, read_kept(source, kept.request), kept.delivery.message)
        dated = [
            item._replace(change=_occurred_by(item.change, kept.delivery.first_at)) for item in mapped.changes
        ]
        try:
            check_each(((item.path, item.change) for item in dated), self._check)
        except InvalidChange as error:
            return mapped.failed(error)
        return mapped._replace(changes=dated)

    def _check(self, change: Change) -> None:
        try:
            check(change, self.intake.policy_of(change.account).overrides)
        except NotFound as error:
            raise InvalidChange([Fault("account", str(error))]) from None

    def _find_jobs(self, mapped: MappedDelivery) -> tuple[RemappedChange, ...]:
        """Return the changes, each with the job that it is already."""
        by_account = defaultdict[str, list[Change]](list)
        for _, change in mapped.changes:
            by_account[change.account].append(change)
        known = {
            (account, event_id): job
            for account, changes in by_account.items()
            for event_id, job in self.queries.find_delivered(
                account, changes[0].source, [change.event_id or "" for change in changes]
            ).items()
        }
        jobs = self.queries.get_jobs(list(known.values()))
        return tuple(
            _compare(path, change, known.get((change.account, change.event_id or ""), ""), jobs)
            for path, change in mapped.changes
        )

    def _accept(
        self, delivery: Delivery, changes: Sequence[RemappedChange], by: str
    ) -> tuple[tuple[RemappedChange, ...], InvalidChange | None]:
        """Accept what is new, account by account; return the changes that have jobs, and why not all do.

        The audit logs have it before: a process that died in between could not say so, and finds nothing new.
        """
        done, places = list(changes), [at for at, item in enumerate(changes) if item.is_new]
        new = [changes[at].change for at in places]
        entries = {
            account: AuditEntry(self.intake.new_id(), by, "redelivered", delivery.id)
            for account in dict.fromkeys(change.account for change in new)
        }
        for account, entry in entries.items():
            self.job_admin.add_audit_entry(account, entry)
        receipts, error = self.intake.accept_parts(new)
        for place, receipt in receipts.items():
            at = places[place]
            done[at] = done[at]._replace(job=receipt.job, is_new=not receipt.duplicate)
        for account, count in Counter(account_of(receipt.job) for receipt in receipts.values()).items():
            self.job_admin.add_audit_entry(account, msgspec.structs.replace(entries[account], count=count))
        return tuple(item for item in done if item.job), error

    def _record(
        self, source: Source, kept: KeptDelivery, mapped: MappedDelivery, changes: Sequence[RemappedChange]
    ) -> Delivery:
        """Return the delivery as it is by now; jobs that it made before stay among its own."""
        known = kept.delivery
        record = record_delivery(source, mapped, [item.job for item in changes]).delivery
        made = [job for job in (*known.jobs, *record.jobs) if job]
        times = {"at": known.at, "first_at": known.first_at, "times": known.times}
        same = {"id": known.id, "message": known.message, "size": known.size, "cut": known.cut}
        return msgspec.structs.replace(record, **times, **same, jobs=tuple(dict.fromkeys(made)))

    def _finish(self, known: Delivery, now: Delivery, by: str) -> None:
        """Note what became of a delivery, and end the failed job that stands for one that was unreadable.

        What once made jobs has made them, whatever the rules say today, also of one account among several.
        """
        if known.outcome == "made" and now.outcome != "made":
            return
        self.deliveries.replace(known, now)
        if known.outcome != "unreadable":
            return
        for job, found in self.queries.get_jobs(known.jobs).items():
            if not found.refusal or found.refusal[1] != "unreadable":
                continue
            if now.outcome == "made":
                new = [other for other in now.jobs if other not in known.jobs]
                self.job_admin.link_replacement(job, new, by=by)
            elif now.outcome == "nothing_to_do":
                account = account_of(job)
                entry = AuditEntry(self.intake.new_id(), by, "dismissed", job, now.reason)
                self.job_admin.dismiss(account, [job], entry)


def find_lost(
    queries: Queries, changes: Sequence[MappedChange], receipts: Mapping[int, Receipt]
) -> list[Fault]:
    """Return a fault for each change that met the job of another one, which has its event id and stays."""
    met = [(changes[at], receipt.job) for at, receipt in receipts.items() if receipt.duplicate]
    jobs = queries.get_jobs([job for _, job in met]) if met else {}
    compared = [_compare(path, change, job, jobs) for (path, change), job in met]
    return [Fault(f"{each.rule}.event_id", LOST.format(each.job)) for each in compared if each.differs]


def require_request(found: KeptDelivery) -> bytes:
    """Return what is kept of a delivery's request; raise NotFound for one that was refused."""
    if found.delivery.outcome == "refused":
        raise NotFound(f"nothing is kept of what {found.delivery.id} brought, because it was refused")
    return found.request


def is_visible(delivery: Delivery, allowed: Collection[str] | None) -> bool:
    """Return whether those who may look at these accounts (None: at all) may see a delivery."""
    return allowed is None or (bool(delivery.accounts) and set(delivery.accounts) <= set(allowed))


def _reason_to_skip(delivery: Delivery, source: Source | None) -> SkipReason | None:
    if delivery.outcome == "refused":
        return "refused"
    if source is None:
        return "no_source"
    return "cut" if delivery.cut else None


def _occurred_by(change: Change, at: int) -> Change:
    """Return a change that occurred then, if it names no time."""
    return change if change.occurred_at is not None else msgspec.structs.replace(change, occurred_at=at)


def _compare(path: str, change: Change, job_id: str, jobs: Mapping[str, JobRecord]) -> RemappedChange:
    if not job_id:
        return RemappedChange(path, change)
    job = jobs.get(job_id)
    is_erased = job is not None and not (job.parents or job.references)
    differs = job is not None and not is_erased and _differs(change, job)
    return RemappedChange(path, change, job_id, is_new=False, differs=differs)


def _differs(change: Change, job: JobRecord) -> bool:
    """Return whether a change asks for something else than a job was asked for, whatever was found since."""
    named = {("parent", each) for each in change.parent_references}
    named |= {("child", each) for each in change.child_references}
    found = {(each.side, each.record) for each in job.references}
    ids = (
        {number for number in numbers if (side, number) not in found}
        for side, numbers in (("parent", job.parents), ("child", job.children))
    )
    asked = (change.action, change.type, set(change.parents), set(change.children), change.info, named)
    given = {(each.side, each.reference) for each in job.references}
    return asked != (job.action, job.type, *ids, job.info, given)
