"""Jobs read back as `producers.portals.serializers` writes them; their relations and their payloads."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TypedDict

from ops.explain.explanation import ErrorFact
from producers.portals.serializers import FailureDict, HeldDict, JobDict, ParkedDict, ReferenceDict, job_json
from worker.contract import Relation, read_instant, read_optional_instant, read_reference
from worker.ports.job_admin import Payload
from worker.ports.records import Dismissal, Failure, JobRecord
from worker.ports.references import JobReference, Parking


class RelationOutcomeDict(TypedDict):
    """What became of one relation of a job; `outcome` is null where that is not remembered any more."""

    parentid: int
    childid: int
    outcome: str | None
    by: str | None
    request: str | None
    error: ErrorFact | None
    dismissed_by: str | None


class RelationOutcomesDict(TypedDict):
    """The relations of a job, in the order of its ids."""

    relations: list[RelationOutcomeDict]


class PayloadDict(TypedDict):
    """An unreadable message: its body in base64, cut if it is shorter than `size`, and what is wrong."""

    body: str
    size: int
    faults: list[str]


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


def write_job(job: JobRecord, waits: Mapping[str, HeldDict]) -> JobDict:
    """Return the job as JSON, with why it waits if that is among these."""
    return {**job_json(job), "held": waits.get(job.id)}


def serialize_payload(payload: Payload) -> PayloadDict:
    """Return what is kept of an unreadable message as JSON."""
    body = b64encode(payload.body).decode()
    return {"body": body, "size": payload.size, "faults": list(payload.faults)}


def read_payload(document: PayloadDict) -> Payload:
    """Return what is kept of an unreadable message."""
    return Payload(b64decode(document["body"]), tuple(document["faults"]), document["size"])
