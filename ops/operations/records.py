"""Reads what the HTTP interface shows back into the values that it was made of. Pure.

Each function is the inverse of a serializer, which stands in `ops.serializers` or
`producers.portals.serializers`; what that one leaves out is empty here.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ops.doctor.findings import Finding
from ops.explain import Explanation
from ops.explain.relation import JobExplanation
from producers.job_admin.suspects import RecordFailures
from producers.portals.serializers import FailureDict, JobDict, ParkedDict, ReferenceDict
from producers.webhooks.redelivery import Remapped, RemappedChange
from worker.contract import Relation, from_message, read_instant, read_reference, write_instant
from worker.planner.actions import Action
from worker.ports import (
    AuditEntry,
    BatchCounts,
    CallbackMessage,
    Delivery,
    DeliveryFilter,
    Dismissal,
    DriftedRelation,
    DriftPage,
    Failure,
    FailureGroup,
    JobFilter,
    JobRecord,
    JobReference,
    Parking,
    Payload,
    Replay,
    RequestRecord,
    Waiting,
)

FILTER_FIELDS: Final[Mapping[str, str]] = {  # of the filter → parameter of the interface
    "state": "state",
    "type": "relationtype",
    "parent": "parentid",
    "child": "childid",
    "error": "error",
    "source": "source",
    "batch": "batch",
    "event_id": "event_id",
}
TIME_FIELDS: Final = ("since", "until", "failed_since", "failed_until")
MESSAGE_TIMES: Final = ("made_at", "tried_at", "next_at", "ended_at")
EXPLAINED: Final = ("id", "state", "text", "requests")  # of a job's explanation; the rest are its facts


def write_filter(wanted: JobFilter) -> dict[str, Any]:
    """Return the parameters of a filter, without those that let everything pass."""
    values = {FILTER_FIELDS[name]: getattr(wanted, name) for name in FILTER_FIELDS}
    times = {name: write_instant(at) for name in TIME_FIELDS if (at := getattr(wanted, name))}
    reference = {"reference": str(wanted.reference)} if wanted.reference else {}
    return {name: value for name, value in values.items() if value} | times | reference


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
        finished_at=_read_time(document["finished_at"]),
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
        _read_time(document["asked_at"]),
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


def read_waiting(document: JobDict) -> Waiting | None:
    """Return why the job waits, None if it does not."""
    held = document["held"]
    if held is None:
        return None
    relation = None
    if held["parentid"] and held["childid"]:
        relation = Relation(document["relationtype"], held["parentid"], held["childid"])
    return Waiting(held["reason"], _read_time(held["until"]), held["message"], relation, held["error"] or "")


def read_failure(document: Mapping[str, Any]) -> FailureGroup:
    """Return the group of failures."""
    return FailureGroup(
        code=document["code"],
        error=document["class"],
        type=document["relationtype"] or "",
        jobs=document["jobs"],
        first=read_instant(document["first"]),
        last=read_instant(document["last"]),
        example=document["example"],
    )


def read_suspect(document: Mapping[str, Any]) -> RecordFailures:
    """Return the failures of a suspect record."""
    return RecordFailures(
        module=document["module"],
        record=document["id"],
        code=document["code"],
        error=document["class"],
        relations=document["relations"],
        jobs=document["jobs"],
        first=read_instant(document["first"]),
        last=read_instant(document["last"]),
        example=document["example"],
    )


def read_request(document: Mapping[str, Any]) -> RequestRecord:
    """Return the request."""
    answers = [action["answer"] for action in document["actions"]]
    return RequestRecord(
        id=document["id"],
        at=read_instant(document["at"]),
        status=document["status"],
        seconds=document["seconds"],
        message=document["message"],
        actions=tuple(map(_read_action, document["actions"])),
        answers=tuple((answer["verdict"], answer["code"], answer["message"]) for answer in answers),
        correlations=tuple(document["correlations"]),
    )


def _read_action(document: Mapping[str, Any]) -> Action:
    name = document["relationtype"]
    return Action(
        document["action"],
        name,
        tuple(document["parentid"]),
        tuple(document["childid"]),
        tuple(document["relationinfo"].items()),
        asked=tuple(Relation(name, parent, child) for parent, child in document["asked"]),
    )


def read_audit_entry(document: Mapping[str, Any]) -> AuditEntry:
    """Return the audit entry; its id is not shown."""
    return msgspec.convert({**document, "name": "", "at": read_instant(document["at"])}, AuditEntry)


def read_replay(document: Mapping[str, Any]) -> Replay:
    """Return the replay."""
    times = {name: _read_time(document[name]) for name in ("made_at", "run_at", "finished_at")}
    return msgspec.convert({**document, **times}, Replay)


def read_drift_page(document: Mapping[str, Any]) -> DriftPage:
    """Return the page of a drift read."""
    page = {**document, "next": document["next"] or "", "waits": document["waits"] or ""}
    drifted, unknown = map(read_drifted, document["drifted"]), map(_read_relation, document["unknown"])
    return DriftPage(**{**page, "drifted": tuple(drifted), "unknown": tuple(unknown)})


def read_drifted(document: Mapping[str, Any]) -> DriftedRelation:
    """Return the relation that has drifted."""
    occurred_at, read_at = read_instant(document["occurred_at"]), read_instant(document["read_at"])
    return DriftedRelation(_read_relation(document), document["state"], occurred_at, document["job"], read_at)


def _read_relation(document: Mapping[str, Any]) -> Relation:
    return Relation(document["relationtype"], document["parentid"], document["childid"])


def read_message(document: Mapping[str, Any]) -> CallbackMessage:
    """Return the message of a callback."""
    times = {name: _read_time(document[name]) for name in MESSAGE_TIMES}
    counts = BatchCounts(*(document[name] for name in BatchCounts._fields))
    return msgspec.convert({**document, **times, "counts": counts}, CallbackMessage)


def read_payload(document: Mapping[str, Any]) -> Payload:
    """Return what is kept of an unreadable message."""
    return Payload(b64decode(document["body"]), tuple(document["faults"]), document["size"])


def write_delivery_filter(wanted: DeliveryFilter) -> dict[str, Any]:
    """Return the parameters of a filter of at most one source, without those that let everything pass."""
    values = {"source": "".join(wanted.sources), "outcome": wanted.outcome}
    times = {name: write_instant(at) for name in ("since", "until") if (at := getattr(wanted, name))}
    return {name: value for name, value in values.items() if value} | times


def read_delivery(document: Mapping[str, Any]) -> Delivery:
    """Return the delivery."""
    times = {name: read_instant(document[name]) for name in ("at", "first_at")}
    rules = [{**trace, "when": trace["when"] or ""} for trace in document["rules"]]
    return msgspec.convert(
        {**document, **times, "rules": rules, "reason": document["reason"] or ""}, Delivery
    )


def read_remapped(document: Mapping[str, Any]) -> Remapped:
    """Return what became of a delivery by today's rules."""
    changes = (
        RemappedChange(
            item["rule"],
            from_message(item["change"]).change,
            item["job"] or "",
            is_new=item["new"],
            differs=item["differs"],
        )
        for item in document["changes"]
    )
    now = read_delivery(document["now"]) if document["now"] else None
    return Remapped(document["id"], document["was"], now, tuple(changes), document["skipped"])


def read_finding(document: Mapping[str, Any]) -> Finding:
    """Return the finding of a check."""
    return Finding(document["what"], document["level"], document["text"], document["todo"])


def read_explanation(document: Mapping[str, Any]) -> Explanation:
    """Return the explanation of a relation, with the times in its texts as the server wrote them."""
    wanted = document["wanted"]
    return Explanation(
        relation=_read_relation(document["relation"]),
        wanted=wanted["text"],
        known=tuple(document["known"]),
        jobs=tuple(map(_read_explained_job, document["jobs"])),
        presence=wanted["presence"],
        is_open=wanted["open"],
        why_not_sending=wanted["but"] or "",
    )


def _read_explained_job(document: Mapping[str, Any]) -> JobExplanation:
    requests = tuple(document["requests"])
    facts = {name: value for name, value in document.items() if name not in EXPLAINED}
    return JobExplanation.of(document["id"], document["state"], document["text"], facts, requests)


def _read_time(text: str | None) -> int:
    return read_instant(text) if text else 0
