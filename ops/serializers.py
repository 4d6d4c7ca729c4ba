"""What operators are shown, as plain data: the same for the command line and for the HTTP interface. Pure.

Jobs and batches are shown to producers too: their serializers are in `producers.portals.serializers`.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from ops.explain.advice import advise
from producers.job_admin.suspects import RecordFailures
from producers.webhooks.redelivery import Remapped
from worker.config import Key
from worker.contract import Relation, to_message, write_instant
from worker.onoffice.codes import describe
from worker.ports import (
    AuditEntry,
    CallbackMessage,
    Delivery,
    DriftedRelation,
    DriftPage,
    FailureGroup,
    Replay,
    RequestRecord,
    RuleTrace,
    SweepStats,
    WorkerInfo,
)


def serialize_failure(account: str, failure: FailureGroup) -> dict[str, Any]:
    """Return a group of failures as JSON."""
    return {
        "account": account,
        "code": failure.code,
        "class": failure.error,
        "message": describe_failure(failure),
        "relationtype": failure.type or None,
        "jobs": failure.jobs,
        "first": write_instant(failure.first),
        "last": write_instant(failure.last),
        "example": failure.example,
        "todo": advise(failure.code, failure.error),
    }


def serialize_suspect(account: str, suspect: RecordFailures) -> dict[str, Any]:
    """Return the failures of a suspect record as JSON."""
    return {
        "account": account,
        "module": suspect.module,
        "id": suspect.record,
        "code": suspect.code,
        "class": suspect.error,
        "message": describe(suspect.code) if suspect.code else suspect.error,
        "relations": suspect.relations,
        "jobs": suspect.jobs,
        "first": write_instant(suspect.first),
        "last": write_instant(suspect.last),
        "example": suspect.example,
    }


def describe_failure(failure: FailureGroup) -> str:
    """Return what the failure's code means, or without a code its class."""
    return describe(failure.code) if failure.code else failure.error


def serialize_request(request: RequestRecord) -> dict[str, Any]:
    """Return a request as JSON."""
    actions = [
        {
            "action": action.kind,
            "relationtype": action.type,
            "parentid": list(action.parents),
            "childid": list(action.children),
            "relationinfo": dict(action.info),
            "asked": [[relation.parent, relation.child] for relation in action.asked],
            "answer": {"verdict": verdict, "code": code, "message": message},
        }
        for action, (verdict, code, message) in zip(request.actions, request.answers, strict=False)
    ]
    return {
        "id": request.id,
        "at": write_instant(request.at),
        "status": request.status,
        "seconds": request.seconds,
        "message": request.message,
        "observed": request.observed,
        "correlations": list(request.correlations),
        "actions": actions,
    }


def serialize_replay(replay: Replay, outcomes: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return a replay as JSON; times are RFC 3339, null while they are not there yet.

    With `outcomes`, its jobs counted by the state they are in now.
    """
    document: dict[str, Any] = msgspec.to_builtins(replay)
    for name in ("made_at", "run_at", "finished_at"):
        document[name] = write_instant(document[name]) if document[name] else None
    return document if outcomes is None else {**document, "became": dict(outcomes)}


def serialize_drift_page(page: DriftPage) -> dict[str, Any]:
    """Return a page of a drift read as JSON; `next` and `waits` are null where there is nothing to say."""
    document: dict[str, Any] = page._asdict()
    return {
        **document,
        "drifted": list(map(serialize_drifted, page.drifted)),
        "unknown": list(map(serialize_relation, page.unknown)),
        "next": page.next or None,
        "waits": page.waits or None,
    }


def serialize_drifted(found: DriftedRelation) -> dict[str, Any]:
    """Return a relation that has drifted as JSON."""
    return {
        **serialize_relation(found.relation),
        "state": found.state,
        "occurred_at": write_instant(found.occurred_at),
        "job": found.job,
        "read_at": write_instant(found.read_at),
    }


def serialize_relation(relation: Relation) -> dict[str, Any]:
    """Return a relation as JSON."""
    return {"relationtype": relation.type, "parentid": relation.parent, "childid": relation.child}


def serialize_audit_entry(entry: AuditEntry) -> dict[str, Any]:
    """Return an audit entry as JSON."""
    return {
        "at": write_instant(entry.at),
        "by": entry.by,
        "act": entry.act,
        "what": entry.what,
        "count": entry.count,
        "note": entry.note,
    }


def serialize_delivery(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery as JSON."""
    return {
        "id": delivery.id,
        "source": delivery.source,
        "outcome": delivery.outcome,
        "reason": delivery.reason or None,
        "faults": list(delivery.faults),
        "accounts": list(delivery.accounts),
        "jobs": list(delivery.jobs),
        "rules": list(map(serialize_trace, delivery.rules)),
        "message": delivery.message,
        "size": delivery.size,
        "cut": delivery.cut,
        "at": write_instant(delivery.at),
        "first_at": write_instant(delivery.first_at),
        "times": delivery.times,
    }


def serialize_trace(trace: RuleTrace) -> dict[str, Any]:
    """Return what a rule did as JSON."""
    return {
        "rule": trace.rule,
        "outcome": trace.outcome,
        "jobs": list(trace.jobs),
        "when": trace.when or None,
        "found": dict(trace.found),
        "elements": trace.elements,
        "faults": list(trace.faults),
    }


def serialize_remapped(remapped: Remapped) -> dict[str, Any]:
    """Return what became, or would become, of a delivery by today's rules as JSON."""
    return {
        "id": remapped.id,
        "was": remapped.was,
        "skipped": remapped.skipped,
        "now": serialize_delivery(remapped.now) if remapped.now else None,
        "changes": [
            {
                "rule": item.rule,
                "change": dict(to_message(item.change)),
                "job": item.job or None,
                "new": item.is_new,
                "differs": item.differs,
            }
            for item in remapped.changes
        ],
    }


def serialize_key(key: Key) -> dict[str, Any]:
    """Return what a key may do, for which accounts, as JSON; nothing of the key itself."""
    return {"name": key.name, "can": list(key.can), "accounts": list(key.accounts)}


def serialize_worker(worker: WorkerInfo, alive: Collection[WorkerInfo]) -> dict[str, Any]:
    """Return a worker as JSON."""
    document: dict[str, Any] = msgspec.to_builtins(worker)
    return {**document, "at": write_instant(worker.at), "alive": worker in alive}


def serialize_sweep(sweeps: SweepStats) -> dict[str, Any]:
    """Return the sweeps as JSON."""
    return {**sweeps._asdict(), "at": write_instant(sweeps.at) if sweeps.at else None}


def serialize_message(message: CallbackMessage) -> dict[str, Any]:
    """Return the message of a callback as JSON; times are RFC 3339, null while they are not there."""
    times = {
        "made_at": message.made_at,
        "tried_at": message.tried_at,
        "next_at": message.next_at,
        "ended_at": message.ended_at,
    }
    return {
        "id": message.id,
        "account": message.account,
        "callback": message.callback,
        "batch": message.batch,
        **message.counts._asdict(),
        "state": message.state,
        "attempts": message.attempts,
        **{name: write_instant(at) if at else None for name, at in times.items()},
        "status": message.status,
        "error": message.error,
    }
