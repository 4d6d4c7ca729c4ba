"""A job or a batch as JSON, the same for the HTTP interface, the command line and the SDK. Pure."""

from collections.abc import Mapping
from typing import TypedDict

from worker.contract import Relation, write_instant
from worker.errors import NotFound
from worker.ports import JobRecord

ErrorDict = TypedDict(
    "ErrorDict", {"code": int, "class": str, "message": str, "parentid": int | None, "childid": int | None}
)
"""The first refusal among a job's relations, without ids if it is about none; made this way because `class` is a word of Python."""


class JobDict(TypedDict):
    """A job as it is shown. Times are RFC 3339 in UTC; what is not there yet is null.

    `replay` worked it last; `replays` is the job it was sent in place of, and `replayed_by` are those sent in its place.
    """

    id: str
    account: str
    state: str
    action: str
    relationtype: str
    parentid: list[int]
    childid: list[int]
    relationinfo: dict[str, str]
    source: str
    event_id: str
    batch: str | None
    correlation_id: str | None
    occurred_at: str
    accepted_at: str
    finished_at: str | None
    attempts: int
    relations: dict[str, int]
    error: ErrorDict | None
    superseded_by: str | None
    requests: list[str]
    replay: str | None
    replays: str | None
    replayed_by: list[str]
    history: list[dict[str, str]]


class BatchDict(TypedDict):
    """How far the jobs of a label are. It is done when none is open; one that is replayed is open again."""

    account: str
    batch: str
    accepted: int
    open: int
    succeeded: int
    superseded: int
    failed: int


def batch_json(account: str, label: str, counts: Mapping[str, int]) -> BatchDict:
    """The counts of a label as the interface shows them; raises NotFound when no job carries it."""
    if not counts:
        raise NotFound(f'account {account} has no jobs of batch "{label}" (any more)')
    accepted, succeeded, superseded, failed = (
        counts.get(name, 0) for name in ("accepted", "succeeded", "superseded", "failed")
    )
    return {
        "account": account,
        "batch": label,
        "accepted": accepted,
        "open": accepted - succeeded - superseded - failed,
        "succeeded": succeeded,
        "superseded": superseded,
        "failed": failed,
    }


def job_json(job: JobRecord) -> JobDict:
    """The job as the interface shows it."""
    return {
        "id": job.id,
        "account": job.account,
        "state": job.state,
        "action": job.action,
        "relationtype": job.type,
        "parentid": list(job.parents),
        "childid": list(job.children),
        "relationinfo": dict(job.info),
        "source": job.source,
        "event_id": job.event_id,
        "batch": job.batch or None,
        "correlation_id": job.correlation or None,
        "occurred_at": write_instant(job.occurred_at),
        "accepted_at": write_instant(job.accepted_at),
        "finished_at": write_instant(job.finished_at) if job.finished_at else None,
        "attempts": job.attempts,
        "relations": {"total": job.total, **job.counts},
        "error": _error(job.refusal) if job.refusal else None,
        "superseded_by": job.by or None,
        "requests": list(job.requests),
        "replay": job.replay or None,
        "replays": job.replays or None,
        "replayed_by": list(job.replayed_by),
        "history": _history(job),
    }


def _error(refusal: tuple[int, str, str, str]) -> ErrorDict:
    code, kind, message, name = refusal
    _, parent, child = Relation.parse(name) if name else (None, None, None)
    return {"code": code, "class": kind, "message": message, "parentid": parent, "childid": child}


def _history(job: JobRecord) -> list[dict[str, str]]:
    """What the job's own record knows of its way; each request's part stands in the request's record."""
    told = [{"at": write_instant(job.accepted_at), "event": "accepted"}]
    if job.finished_at:
        told.append({"at": write_instant(job.finished_at), "event": job.state})
    if let_go := job.dismissed:
        told.append(
            {"at": write_instant(let_go.at), "event": "dismissed", "by": let_go.by, "why": let_go.why}
        )
    return told
