"""What the CRM says of what was confirmed, and which relations have drifted."""

from typing import TypedDict

from ops.explain.explanation import RelationDict, write_relation
from ops.serializers import write_document
from worker.contract import Relation, read_instant, write_instant
from worker.ports.drift import DriftedRelation, DriftPage, DriftState


class DriftedDict(RelationDict):
    """A relation that the CRM shows otherwise than it was last confirmed, for a change and its job.

    `missing`: it was confirmed to be there; `returned`: it was confirmed to be gone.
    """

    state: DriftState
    occurred_at: str
    job: str
    read_at: str


class DriftPageDict(TypedDict):
    """What the CRM says of one page of what was confirmed; with `waits`, why nothing of it was read yet.

    Of `seen` relations (of `total` remembered ones), `same` are as confirmed, `open` ones are being worked or
    in doubt, and of the `unknown` ones no answer says how they are.
    """

    total: int
    seen: int
    same: int
    drifted: list[DriftedDict]
    unknown: list[RelationDict]
    open: int
    next: str | None
    waits: str | None
    rest: float


def serialize_drift_page(page: DriftPage) -> DriftPageDict:
    """Return a page of a drift read as JSON; `next` and `waits` are null where there is nothing to say."""
    return write_document(
        DriftPageDict,
        page,
        drifted=list(map(_serialize_drifted, page.drifted)),
        unknown=list(map(write_relation, page.unknown)),
        next=page.next or None,
        waits=page.waits or None,
    )


def _serialize_drifted(found: DriftedRelation) -> DriftedDict:
    return write_document(
        DriftedDict,
        found,
        **write_relation(found.relation),
        occurred_at=write_instant(found.occurred_at),
        read_at=write_instant(found.read_at),
    )


def read_drifted(document: DriftedDict) -> DriftedRelation:
    """Return the relation that has drifted."""
    relation = Relation(document["relationtype"], document["parentid"], document["childid"])
    occurred_at, read_at = read_instant(document["occurred_at"]), read_instant(document["read_at"])
    return DriftedRelation(relation, document["state"], occurred_at, document["job"], read_at)
