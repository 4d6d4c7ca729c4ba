"""The audit log: who did what, when, to how many."""

from typing import TypedDict

from ops.serializers import write_document
from worker.contract import write_instant
from worker.ports.audit import AuditEntry
from worker.ports.queries import CursorPage


class AuditEntryDict(TypedDict):
    """Who did what, when, to how many."""

    at: str
    by: str
    act: str
    what: str
    count: int
    note: str


class AuditPageDict(TypedDict):
    """Audit entries, newest first, and the cursor of the next page; null after the last."""

    deeds: list[AuditEntryDict]
    next: str | None


def serialize_audit_page(page: CursorPage[AuditEntry]) -> AuditPageDict:
    """Return a page of the audit log as JSON; the ids of its entries are not shown."""
    deeds = [write_document(AuditEntryDict, each, at=write_instant(each.at)) for each in page.entries]
    return {"deeds": deeds, "next": page.next or None}
