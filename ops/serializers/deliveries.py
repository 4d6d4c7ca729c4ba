"""Deliveries to webhooks: what became of them, what each rule said, and what today's rules make of them."""

from typing import Any, TypedDict

from ops.serializers import write_document
from producers.webhooks.redelivery import Remapped, RemappedChange, SkipReason
from worker.contract import to_message, write_instant
from worker.ports.deliveries import Delivery, DeliveryOutcome, RuleOutcome, RuleTrace
from worker.ports.queries import CursorPage


class RuleTraceDict(TypedDict):
    """What a rule did with a payload; `found` are the values, as JSON, of what came to nothing."""

    rule: str
    outcome: RuleOutcome
    jobs: list[str]
    when: str | None
    found: dict[str, str]
    elements: int
    faults: list[str]


class DeliveryDict(TypedDict):
    """A delivery to a webhook; `message` is what its event ids begin with, `cut` whether not all is kept."""

    id: str
    source: str
    outcome: DeliveryOutcome
    reason: str | None
    faults: list[str]
    accounts: list[str]
    jobs: list[str]
    rules: list[RuleTraceDict]
    message: str
    size: int
    cut: bool
    at: str
    first_at: str
    times: int


class DeliveryPageDict(TypedDict):
    """Deliveries, newest first, and the cursor of the next page; null after the last."""

    deliveries: list[DeliveryDict]
    next: str | None


class DeliveryPayloadDict(TypedDict):
    """A request as it is kept, in base64: its head, an empty line, and its body; cut if that says so."""

    request: str
    size: int
    cut: bool


class RemappedChangeDict(TypedDict):
    """A change that a rule makes; one that is not `new` is that job, which stays if the change `differs`."""

    rule: str
    change: dict[str, Any]
    job: str | None
    new: bool
    differs: bool


class RemappedDict(TypedDict):
    """A delivery by today's rules: what it `was` and is `now`, or why it was skipped."""

    id: str
    was: DeliveryOutcome | None
    skipped: SkipReason | None
    now: DeliveryDict | None
    changes: list[RemappedChangeDict]


class RedeliveredDict(RemappedDict):
    """What became of a delivery, or would; nothing was done if it was a `dry_run`."""

    dry_run: bool


class RemappedPageDict(TypedDict):
    """What became of deliveries, or would; `next` is the cursor for those after them."""

    dry_run: bool
    deliveries: list[RemappedDict]
    next: str | None


def serialize_delivery(delivery: Delivery) -> DeliveryDict:
    """Return a delivery as JSON."""
    return write_document(
        DeliveryDict,
        delivery,
        reason=delivery.reason or None,
        rules=list(map(serialize_trace, delivery.rules)),
        at=write_instant(delivery.at),
        first_at=write_instant(delivery.first_at),
    )


def serialize_trace(trace: RuleTrace) -> RuleTraceDict:
    """Return what a rule did as JSON."""
    return write_document(RuleTraceDict, trace, when=trace.when or None)


def serialize_delivery_page(page: CursorPage[Delivery]) -> DeliveryPageDict:
    """Return a page of deliveries as JSON."""
    return {"deliveries": list(map(serialize_delivery, page.entries)), "next": page.next or None}


def serialize_remapped(remapped: Remapped) -> RemappedDict:
    """Return what became, or would become, of a delivery by today's rules as JSON."""
    return write_document(
        RemappedDict,
        remapped,
        now=serialize_delivery(remapped.now) if remapped.now else None,
        changes=list(map(_serialize_change, remapped.changes)),
    )


def _serialize_change(item: RemappedChange) -> RemappedChangeDict:
    change = dict(to_message(item.change))
    return write_document(RemappedChangeDict, item, change=change, job=item.job or None, new=item.is_new)
