"""What an act answers, to whom it was done or how an account stands after it; and the log of all acts."""

from typing import NotRequired, TypedDict

from ops.serializers import write_document
from producers.job_admin.erasure_proof import ErasureProof
from worker.contract import write_instant
from worker.ports.queries import CursorPage
from worker.ports.records import AuditEntry


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


class PausedDict(TypedDict):
    """Whether an account is paused now; when it was resumed also how it stood before."""

    account: str
    paused: bool
    was_paused: NotRequired[bool]
    breaker_was: NotRequired[str]
    pace_was: NotRequired[float]
    did: NotRequired[list[str]]  # with the breaker and the pace, in sentences


class ActedDict(TypedDict):
    """Which jobs were acted on, or would be; the others with the reason; and whether there are more."""

    dry_run: bool
    jobs: list[str]
    refused: dict[str, str]
    more: bool
    summary: str


class ErasedDict(TypedDict):
    """How many things a record was taken out of, by kind; and the document of what was done."""

    account: str
    erased: dict[str, int]
    proof: ErasureProof
