"""The audit log: who did what to an account."""

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
