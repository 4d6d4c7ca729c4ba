"""The audit log: who did what, when, to how many."""

from typing import TypedDict

from worker.contract import write_instant
from worker.ports.audit import AuditEntry, AuditPage


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


def serialize_audit_page(page: AuditPage) -> AuditPageDict:
    """Return a page of the audit log as JSON; the ids of its entries are not shown."""
    return {"deeds": list(map(_serialize_entry, page.entries)), "next": page.next or None}


def _serialize_entry(entry: AuditEntry) -> AuditEntryDict:
    return {
        "at": write_instant(entry.at),
        "by": entry.by,
        "act": entry.act,
        "what": entry.what,
        "count": entry.count,
        "note": entry.note,
    }
