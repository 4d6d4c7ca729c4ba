"""The audit log: who did what, when, to how many."""

from typing import TypedDict

import msgspec

from worker.contract import read_instant, write_instant
from worker.ports.audit import AuditEntry


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


def serialize_audit_entry(entry: AuditEntry) -> AuditEntryDict:
    """Return an audit entry as JSON."""
    return {
        "at": write_instant(entry.at),
        "by": entry.by,
        "act": entry.act,
        "what": entry.what,
        "count": entry.count,
        "note": entry.note,
    }


def read_audit_entry(document: AuditEntryDict) -> AuditEntry:
    """Return the audit entry; its id is not shown."""
    return msgspec.convert({**document, "name": "", "at": read_instant(document["at"])}, AuditEntry)
