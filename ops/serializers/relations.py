"""A relation, and an error that one has met."""

from typing import TypedDict

from worker.contract import Relation

ErrorFact = TypedDict("ErrorFact", {"code": int, "class": str, "message": str})


class RelationDict(TypedDict):
    """A relation under its canonical type."""

    relationtype: str
    parentid: int
    childid: int


def serialize_relation(relation: Relation) -> RelationDict:
    """Return a relation as JSON."""
    return {"relationtype": relation.type, "parentid": relation.parent, "childid": relation.child}


def read_relation(document: RelationDict) -> Relation:
    """Return the relation."""
    return Relation(document["relationtype"], document["parentid"], document["childid"])
