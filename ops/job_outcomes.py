"""What became of each relation of one job, by what is remembered of the relations."""

from collections.abc import Sequence
from typing import Final

from ops.explain.explanation import ErrorFact
from ops.serializers.jobs import RelationOutcomeDict
from worker.contract import Relation
from worker.ports.queries import Queries
from worker.ports.records import OPEN_STATES, Failure, JobRecord, RelationEvent

MAX_RELATIONS: Final = 500  # of one change


def read_outcomes(queries: Queries, job: JobRecord) -> list[RelationOutcomeDict]:
    """Return the outcome of each relation of a job, in the order of its ids; in one round trip."""
    relations = job.relations[:MAX_RELATIONS]
    events = queries.relation_events(job.account, relations)
    return [outcome_of(job, relation, events.get(relation, ())) for relation in relations]


def outcome_of(job: JobRecord, relation: Relation, events: Sequence[RelationEvent]) -> RelationOutcomeDict:
    """Return what became of one relation: `applied`, `superseded`, `stale`, `failed`, `open`, or not known.

    `by` is the newer job, or what it was superseded by; `request` the one that it was applied with.
    """
    failure = next((each for each in job.failures if each.relation == relation), None)
    own = [event for event in events if event.job == job.id]
    result, detail = (own[-1].result, own[-1].detail or None) if own else ("", None)
    if failure:
        result = "failed"
    elif result not in ("applied", "superseded", "stale"):  # a job that failed and is open was replayed
        result = "open" if job.state in OPEN_STATES else ""
    return {
        "parentid": relation.parent,
        "childid": relation.child,
        "outcome": result or None,
        "by": detail if result in ("superseded", "stale") else None,
        "request": detail if result == "applied" else None,
        "error": _error_of(failure) if failure else None,
        "dismissed_by": failure.dismissed.by or None if failure and failure.dismissed else None,
    }


def _error_of(failure: Failure) -> ErrorFact:
    return {"code": failure.code, "class": failure.error, "message": failure.message}
