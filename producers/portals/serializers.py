"""Jobs and batches as JSON, the same for the HTTP interface, the command line and the SDK.

A job is read back by who acts on it over HTTP: a new field stands in three places of this file alone. Pure.
"""

from collections.abc import Mapping
from typing import TypedDict

from worker.contract import (
    Relation,
    Side,
    read_instant,
    read_optional_instant,
    read_reference,
    write_instant,
    write_optional_instant,
)
from worker.errors import NotFound
from worker.ports.pace import Waiting, WaitReason
from worker.ports.records import ENDED_STATES, Dismissal, Failure, JobRecord, JobState
from worker.ports.references import JobReference, Parking

ErrorDict = TypedDict(
    "ErrorDict", {"code": int, "class": str, "message": str, "parentid": int | None, "childid": int | None}
)
"""The first refusal among a job's relations; the ids are null if it is about none of them.

Not a class statement, because `class` is a keyword of Python.
"""


FailureDict = TypedDict(
    "FailureDict",
    {
        "parentid": int,
        "childid": int,
        "code": int,
        "class": str,
        "message": str,
        "dismissed": dict[str, str] | None,
    },
)
"""A relation that failed, with its own refusal; `dismissed` (at, by, why) if it needs no decision."""


class HeldDict(TypedDict):
    """Why an open job waits; it is looked at again at `until`, if not before.

    The ids are those of the relation that waits, null if it is the account that does. `error` is the class of
    failure that a guarded relation meets if nothing makes way. `until` is null where somebody has to act, or
    where it is its turn.
    """

    reason: WaitReason
    message: str
    until: str | None
    parentid: int | None
    childid: int | None
    error: str | None


class ReferenceDict(TypedDict):
    """A record that a change names by a reference: as it was sent, and what is known of it by now.

    `id` is the record that it led to at `asked_at`, or that `chosen_by` says it is; null while it is neither.
    Then `candidates` are the ids that it may mean.
    """

    side: Side
    reference: dict[str, dict[str, str]]
    id: int | None
    asked_at: str | None
    candidates: list[int]
    chosen_by: str | None


class ParkedDict(TypedDict):
    """How a change waits for a record to be found: since when, and when it is looked up next.

    `look_ups` is how often it was, of which the API did not answer the last `unanswered`.
    """

    since: str
    until: str
    look_ups: int
    unanswered: int
    message: str


class JobDict(TypedDict):
    """A job; times are RFC 3339 in UTC, and null while they are not known yet."""

    id: str
    account: str
    state: JobState
    action: str
    relationtype: str
    parentid: list[int]
    childid: list[int]
    relationinfo: dict[str, str]
    source: str
    event_id: str
    batch: str | None
    allow_empty: bool
    correlation_id: str | None
    occurred_at: str
    accepted_at: str
    finished_at: str | None
    attempts: int
    relations: dict[str, int]
    error: ErrorDict | None
    failures: list[FailureDict]
    held: HeldDict | None
    references: list[ReferenceDict]
    parked: ParkedDict | None
    superseded_by: str | None
    requests: list[str]
    replay: str | None  # the replay that put it back last
    replays: str | None  # the job it was sent in place of
    replayed_by: list[str]  # the jobs sent in place of it
    history: list[dict[str, str]]


class BatchDict(TypedDict):
    """The jobs of a label by what became of them; a job that is replayed is open again."""

    account: str
    batch: str
    accepted: int
    open: int
    succeeded: int
    superseded: int
    failed: int


def batch_json(account: str, label: str, counts: Mapping[str, int]) -> BatchDict:
    """Return the counts of a label; raise NotFound if no job carries it."""
    if not counts:
        raise NotFound(f'account {account} has no jobs of batch "{label}" (any more)')
    accepted = counts.get("accepted", 0)
    ended = {state: counts.get(state, 0) for state in ENDED_STATES}
    return {
        "account": account,
        "batch": label,
        "accepted": accepted,
        "open": accepted - sum(ended.values()),
        "succeeded": ended["succeeded"],
        "superseded": ended["superseded"],
        "failed": ended["failed"],
    }


def job_json(job: JobRecord, waiting: Waiting | None = None) -> JobDict:
    """Return the job as JSON, with why it waits."""
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
        "allow_empty": job.allow_empty,
        "correlation_id": job.correlation or None,
        "occurred_at": write_instant(job.occurred_at),
        "accepted_at": write_instant(job.accepted_at),
        "finished_at": write_optional_instant(job.finished_at),
        "attempts": job.attempts,
        "relations": {"total": job.total, **job.counts},
        "error": _error(job.refusal) if job.refusal else None,
        "failures": list(map(_failure, job.failures)),
        "held": waiting_json(waiting) if waiting else None,
        "references": list(map(_reference, job.references)),
        "parked": _parked(job.parked) if job.parked else None,
        "superseded_by": job.by or None,
        "requests": list(job.requests),
        "replay": job.replay or None,
        "replays": job.replays or None,
        "replayed_by": list(job.replayed_by),
        "history": _history(job),
    }


def waiting_json(waiting: Waiting) -> HeldDict:
    """Return why something waits as JSON."""
    relation = waiting.relation
    return {
        "reason": waiting.reason,
        "message": waiting.message,
        "until": write_optional_instant(waiting.until),
        "parentid": relation.parent if relation else None,
        "childid": relation.child if relation else None,
        "error": waiting.error or None,
    }


def _error(refusal: tuple[int, str, str, str]) -> ErrorDict:
    code, error_class, message, relation = refusal
    _, parent, child = Relation.parse(relation) if relation else (None, None, None)
    return {"code": code, "class": error_class, "message": message, "parentid": parent, "childid": child}


def _failure(failure: Failure) -> FailureDict:
    return {
        "parentid": failure.relation.parent,
        "childid": failure.relation.child,
        "code": failure.code,
        "class": failure.error,
        "message": failure.message,
        "dismissed": _dismissal(failure.dismissed) if failure.dismissed else None,
    }


def _reference(each: JobReference) -> ReferenceDict:
    return {
        "side": each.side,
        "reference": each.reference.as_object(),
        "id": each.record or None,
        "asked_at": write_optional_instant(each.asked_at),
        "candidates": list(each.candidates),
        "chosen_by": each.by or None,
    }


def _parked(parked: Parking) -> ParkedDict:
    return {
        "since": write_instant(parked.since),
        "until": write_instant(parked.until),
        "look_ups": parked.look_ups,
        "unanswered": parked.failures,
        "message": parked.message,
    }


def _dismissal(dismissed: Dismissal) -> dict[str, str]:
    return {"at": write_instant(dismissed.at), "by": dismissed.by, "why": dismissed.why}


def _history(job: JobRecord) -> list[dict[str, str]]:
    """Return the events that the job's own record knows of; its requests have records of their own."""
    events = [{"at": write_instant(job.accepted_at), "event": "accepted"}]
    if job.finished_at:
        events.append({"at": write_instant(job.finished_at), "event": job.state})
    if job.dismissed:
        events.append({"event": "dismissed", **_dismissal(job.dismissed)})
    return events


# --- read back


def read_job(document: JobDict) -> JobRecord:
    """Return the job; its number is not shown."""
    counts = dict(document["relations"])
    error = document["error"]
    relation = ""
    if error and error["parentid"] and error["childid"]:
        relation = str(Relation(document["relationtype"], error["parentid"], error["childid"]))
    return JobRecord(
        id=document["id"],
        account=document["account"],
        state=document["state"],
        action=document["action"],
        type=document["relationtype"],
        parents=tuple(document["parentid"]),
        children=tuple(document["childid"]),
        info=tuple(document["relationinfo"].items()),
        source=document["source"],
        event_id=document["event_id"],
        batch=document["batch"] or "",
        occurred_at=read_instant(document["occurred_at"]),
        accepted_at=read_instant(document["accepted_at"]),
        finished_at=read_optional_instant(document["finished_at"]),
        attempts=document["attempts"],
        total=counts.pop("total"),
        counts=counts,
        refusal=(error["code"], error["class"], error["message"], relation) if error else None,
        requests=tuple(document["requests"]),
        failures=tuple(_read_failed(each, document["relationtype"]) for each in document["failures"]),
        by=document["superseded_by"] or "",
        dismissed=_read_dismissal(dismissed) if (dismissed := _find_dismissal(document)) else None,
        replays=document["replays"] or "",
        replayed_by=tuple(document["replayed_by"]),
        replay=document["replay"] or "",
        correlation=document["correlation_id"] or "",
        allow_empty=document["allow_empty"],
        references=tuple(map(_read_reference, document["references"])),
        parked=_read_parked(parked) if (parked := document["parked"]) else None,
    )


def _read_reference(document: ReferenceDict) -> JobReference:
    return JobReference(
        document["side"],
        read_reference(document["reference"]),
        document["id"] or 0,
        read_optional_instant(document["asked_at"]),
        tuple(document["candidates"]),
        document["chosen_by"] or "",
    )


def _read_parked(document: ParkedDict) -> Parking:
    return Parking(
        read_instant(document["since"]),
        read_instant(document["until"]),
        document["look_ups"],
        document["message"],
        document["unanswered"],
    )


def _find_dismissal(document: JobDict) -> Mapping[str, str] | None:
    return next((event for event in document["history"] if event["event"] == "dismissed"), None)


def _read_failed(document: FailureDict, type_name: str) -> Failure:
    relation = Relation(type_name, document["parentid"], document["childid"])
    dismissed = document["dismissed"]
    return Failure(
        relation,
        document["code"],
        document["class"],
        document["message"],
        _read_dismissal(dismissed) if dismissed else None,
    )


def _read_dismissal(document: Mapping[str, str]) -> Dismissal:
    return Dismissal(read_instant(document["at"]), document["by"], document["why"])
