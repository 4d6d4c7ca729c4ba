"""The guards of relations of guarded records (R12), as they stand in the store."""

from collections.abc import Collection

from worker.contract import Relation
from worker.store.account import read_memories
from worker.store.database import Database


def guarded_relation(member: str) -> Relation:
    """Return the relation of a guard."""
    return Relation.parse(member.rpartition("|")[2])


def closed_guards(database: Database, account: str, members: Collection[bytes], *, now: int) -> list[bytes]:
    """Return which of these guards are of relations that are closed, and of which no write is in doubt."""
    by_member = {member: guarded_relation(member.decode()) for member in members}
    found = read_memories(database, account, list(dict.fromkeys(by_member.values())), now=now)
    return [
        member
        for member, relation in by_member.items()
        if not (record := found[relation][0]).open and not (record.doubt and record.doubt.until > now)
    ]
