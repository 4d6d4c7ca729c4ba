"""The entries by which the relations of a guarded record (R12) are found, as they are stored."""

from collections.abc import Collection

from worker.contract import Relation
from worker.store.account import read_memories
from worker.store.database import Database


def guarded_relation(member: str) -> Relation:
    """Return the relation that an entry is of."""
    return Relation.parse(member.rpartition("|")[2])


def closed_guards(database: Database, account: str, members: Collection[bytes], *, now: int) -> list[bytes]:
    """Return which of these entries are of relations that are closed, and have no write in doubt."""
    by_member = {member: guarded_relation(member.decode()) for member in members}
    found = read_memories(database, account, list(dict.fromkeys(by_member.values())), now=now)
    return [
        member
        for member, relation in by_member.items()
        if not (record := found[relation][0]).open and not (record.doubt and record.doubt.until > now)
    ]
