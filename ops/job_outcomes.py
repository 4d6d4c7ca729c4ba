"""What became of each relation of one job, by what is remembered of the relations."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ops.serializers.jobs import RelationOutcomeDict
from worker.contract import Relation
from worker.ports.queries import Queries
from worker.ports.records import OPEN_STATES, JobRecord, RelationEvent

MAX_RELATIONS: Final = 500  # of one change


class RememberedOutcome(NamedTuple):
    """What became of a relation of a job: `applied`, `superseded`, `stale`, `failed`, or `open`.

    `by` is the newer job, or what it was superseded by; `request` the one that it was applied with. Of a
    failure its code (0: none), class and text, and who dismissed it. "" is the outcome of one that is not
    remembered any more.
    """

    relation: Relation
    outcome: str
    by: str = ""
    request: str = ""
    code: int = 0
    error: str = ""
    message: str = ""
    dismissed_by: str = ""

    def to_json(self) -> RelationOutcomeDict:
        """Return the outcome as plain data."""
        failed = self.outcome == "failed"
        return {
            "parentid": self.relation.parent,
            "childid": self.relation.child,
            "outcome": self.outcome or None,
            "by": self.by or None,
            "request": self.request or None,
            "error": {"code": self.code, "class": self.error, "message": self.message} if failed else None,
            "dismissed_by": self.dismissed_by or None,
        }


def read_outcomes(queries: Queries, job: JobRecord) -> list[RememberedOutcome]:
    """Return the outcome of each relation of a job, in the order of its ids; in one round trip."""
    relations = job.relations[:MAX_RELATIONS]
    events = queries.relation_events(job.account, relations)
    return [outcome_of(job, relation, events.get(relation, ())) for relation in relations]


def outcome_of(job: JobRecord, relation: Relation, events: Sequence[RelationEvent]) -> RememberedOutcome:
    """Return what became of one relation, by the events that are remembered of it."""
    for failure in job.failures:
        if failure.relation == relation:
            dismissed = failure.dismissed.by if failure.dismissed else ""
            return RememberedOutcome(
                relation,
                "failed",
                code=failure.code,
                error=failure.error,
                message=failure.message,
                dismissed_by=dismissed,
            )
    own = [event for event in events if event.job == job.id]
    result = own[-1] if own else None
    if result and result.result == "failed" and job.state in OPEN_STATES:  # a replay put it back
        return RememberedOutcome(relation, "open")
    if result and result.result == "applied":
        return RememberedOutcome(relation, "applied", request=result.detail)
    if result and result.result in ("superseded", "stale"):
        return RememberedOutcome(relation, result.result, by=result.detail)
    return RememberedOutcome(relation, "open" if job.state in OPEN_STATES else "")
