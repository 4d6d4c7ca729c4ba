"""Jobs with why they wait, the outcomes of their relations, and the messages that some stand for."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TypedDict

from ops.explain.explanation import ErrorFact
from producers.portals.serializers import HeldDict, JobDict, job_json
from worker.ports.job_admin import Payload
from worker.ports.records import JobRecord


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
