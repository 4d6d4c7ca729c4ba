"""The audit log: who did what to an account."""

from typing import NamedTuple, Protocol

import msgspec


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what, to what (in words) and to how many.

    `name` is a fresh sortable id; the store sets `at` (µs) and `count`.
    """

    name: str
    by: str
    act: str
    what: str = ""
    note: str = ""
    count: int = 0
    at: int = 0


class AuditPage(NamedTuple):
    """Audit entries, newest first, and the cursor of the next page (empty: no more)."""

    entries: tuple[AuditEntry, ...]
    next: str


class AuditLog(Protocol):
    """The audit log of every account."""

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Add an entry to the audit log."""

    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> AuditPage:
        """Return who did what, newest first."""
