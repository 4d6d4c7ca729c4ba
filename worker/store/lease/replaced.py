"""When a side of a record was last replaced as a whole: what is older, and not of it, is to be absent."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from worker.contract import Relation
from worker.planner.fold import JobVersion, Version
from worker.ports import RelationRecord, Side
from worker.store.account import AccountCommit, read_memories
from worker.store.database import Database
from worker.store.jobs.stored_job import LoadedJob
from worker.store.memories import Memory

Found = Mapping[Relation, tuple[RelationRecord, Memory]]


OpenBeside = Mapping[tuple[str, Side, int], Sequence[Relation]]
"""Open relations by type, side and the record there."""


class Replaced(NamedTuple):
    """The one record of a replace, by type and side (p, c), and the version of its job."""

    type: str
    side: str
    record: int
    version: JobVersion

    @property
    def field(self) -> str:
        """Its field in the hash."""
        return field_of(self.side, self.type, self.record)


def as_replaced(job: LoadedJob, account: str) -> Replaced:
    """Return what a replace is remembered as once it knows all that it has to remove."""
    v, version = job.value, JobVersion(Version(job.occurred_at, job.number), f"{account}-{job.short}")
    side, ids = ("c", v.children) if v.replaces == "p" else ("p", v.parents)
    return Replaced(v.type, side, ids[0], version)


def field_of(side: str, type_: str, record: int) -> str:
    """Return the field of a record that has one side replaced."""
    return f"{side}:{type_}:{record}"


def with_replaced(database: Database, account: str, found: Found) -> Found:
    """Return what was read of relations, with what replaces have taken away since as absent."""
    fields = {relation: _fields_of(relation) for relation in found}
    known = _read(database, account, dict.fromkeys(each for pair in fields.values() for each in pair))
    changed = {}
    for relation, (record, memory) in found.items():
        replaced_at = max((known[each] for each in fields[relation] if each in known), default=None)
        state = memory.state
        if replaced_at and replaced_at > max(state.present, state.absent):
            memory.confirmed = msgspec.structs.replace(state, absent=_just_before(replaced_at))
            changed[relation] = RelationRecord(record.open, memory.confirmed, record.doubt), memory
    return {**found, **changed}


def read_open_beside(database: Database, account: str) -> OpenBeside:
    """Return the open relations of every record."""
    found: dict[tuple[str, Side, int], list[Relation]] = defaultdict(list)
    for name in database.read(account, "hkeys", "open"):
        relation = Relation.parse(name.decode())
        found[relation.type, "parent", relation.parent].append(relation)
        found[relation.type, "child", relation.child].append(relation)
    return found


def may_still_come(
    database: Database, account: str, relations: Sequence[Relation], *, now: int
) -> list[Relation]:
    """Return those of which a create without an answer may still land, whatever a read shows now."""
    found = read_memories(database, account, relations, now=now, opens=False)
    doubts = {relation: record.doubt for relation, (record, _) in found.items()}
    return [each for each, doubt in doubts.items() if doubt and doubt.kind == "create" and doubt.until > now]


def note_replaced(
    commit: AccountCommit, database: Database, account: str, replaced: Iterable[Replaced]
) -> None:
    """Remember the newest replace of each record, for as long as memories are kept."""
    listed = list(replaced)
    known = _read(database, account, [each.field for each in listed])
    for each in sorted(listed, key=lambda each: each.version):
        if each.field not in known or known[each.field] < each.version:
            version, job = each.version.version, each.version.job.rpartition("-")[2]
            commit.hset("replaced", each.field, f"{version.occurred_at} {version.accepted} {job}")
    if listed:
        commit.run("HSET", "meta", "replaced", 1)
        commit.run("PEXPIRE", "replaced", round(1000 * commit.keep.memory))


def _just_before(replaced_at: JobVersion) -> JobVersion:
    """Return the version of everything older: what the replace itself removes is still to be done."""
    at, number = replaced_at.version.occurred_at, replaced_at.version.accepted
    return JobVersion(Version(at, number - 1), replaced_at.job)


def _fields_of(relation: Relation) -> tuple[str, str]:
    by_parent = field_of("p", relation.type, relation.parent)
    return by_parent, field_of("c", relation.type, relation.child)


def _read(database: Database, account: str, fields: Iterable[str]) -> dict[str, JobVersion]:
    if not (wanted := list(fields)):
        return {}
    reads = database.reads(account)
    reads.hmget("replaced", wanted)
    found = {}
    for field, text in zip(wanted, reads.run()[0], strict=True):
        if text:
            at, number, short = text.decode().split(" ")
            found[field] = JobVersion(Version(int(at), int(number)), f"{account}-{short}")
    return found
