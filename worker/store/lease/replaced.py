"""When a side of a record was last replaced as a whole: what its read did not show is absent since then.

What a replace names, or has found and removes, has an outcome of its own, which tells what became of it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import Final

import msgspec

from worker.contract import Relation, Side
from worker.planner.fold import NEVER, JobVersion, Version
from worker.store.account import AccountCommit, read_memories
from worker.store.database import Database
from worker.store.jobs.stored_job import SIDES, LoadedJob
from worker.store.keys import short_id
from worker.store.memories import Memory

Found = Mapping[Relation, Memory]
MAX_OWN: Final = 8  # replaces of which a relation remembers that it is their own
Place = tuple[str, Side, int]
"""A relation type, a side, and the record there."""


def field_of(side: str, type_: str, record: int) -> str:
    """Return the field of a record that has one side replaced."""
    return f"{side}:{type_}:{record}"


def read_relations(database: Database, account: str, relations: Sequence[Relation], *, now: int) -> Found:
    """Return what is open and remembered of relations, with what replaces have shown to be absent since."""
    return with_replaced(database, account, read_memories(database, account, relations, now=now))


def with_replaced(database: Database, account: str, found: Found) -> Found:
    """Return what was read of relations, with what replaces have shown to be absent since."""
    fields = {relation: _fields_of(relation) for relation in found}
    known = _read(database, account, dict.fromkeys(each for pair in fields.values() for each in pair))
    for relation, memory in found.items() if known else ():
        state, own = memory.state, memory.own_replaces
        replaces = (each for field in fields[relation] for each in known.get(field, ()))
        replaced_at = max((each for each in replaces if each.version not in own), default=NEVER)
        if replaced_at > state.presence:
            memory.confirmed = msgspec.structs.replace(state, absent=_just_before(replaced_at))
    return found


def read_coming(
    database: Database, account: str, places: Set[Place], *, now: int
) -> Mapping[Place, frozenset[int]]:
    """Return what creates without an answer may still add to these records, whatever a read shows now."""
    if not places:
        return {}
    opened = (Relation.parse(name.decode()) for name in database.read(account, "hkeys", "open"))
    beside = [each for each in opened if not places.isdisjoint(_places_of(each))]
    coming: dict[Place, set[int]] = defaultdict(set)
    for relation, memory in read_memories(database, account, beside, now=now, opens=False).items():
        if memory.doubt and memory.doubt.kind == "create" and memory.doubt.until > now:
            by_parent, by_child = _places_of(relation)
            coming[by_parent].add(relation.child)
            coming[by_child].add(relation.parent)
    return {place: frozenset(others) for place, others in coming.items()}


def note_replaced(
    commit: AccountCommit, database: Database, jobs: Collection[LoadedJob], found: Found
) -> dict[Relation, Memory]:
    """Remember that these replaces have read what there is, for as long as memories are kept.

    `found` is what is known of all their relations, by older ones that have read before, too: so one takes
    their place. Return the memories that are written: of those of which nothing is confirmed that is as new.
    """
    known = _read(database, commit.account, {_field_replaced(job) for job in jobs})
    own: dict[Relation, Memory] = {}
    for job in sorted(jobs, key=_version_of, reverse=True):  # so that none takes the place of another
        version, field = _version_of(job), _field_replaced(job)
        newer = [each for each in known.get(field, ()) if each.version > version]
        known[field] = [*newer, JobVersion(version, job.short)]
        commit.hset("replaced", field, " ".join(map(_as_text, known[field])))
        for relation in job.all_relations():
            memory = found[relation]
            if memory.state.presence.version < version:
                memory.own_replaces = (*memory.own_replaces, version)[-MAX_OWN:]
                own[relation] = memory
    commit.put_memories(own.values())
    commit.run("HSET", "meta", "replaced", 1)
    commit.run("KEEP", "replaced", round(1000 * commit.keep.memory))
    return own


def _version_of(job: LoadedJob) -> Version:
    return Version(job.occurred_at, job.number)


def _field_replaced(job: LoadedJob) -> str:
    v = job.value
    return field_of("c", v.type, v.children[0]) if v.replaces == "p" else field_of("p", v.type, v.parents[0])


def _just_before(replaced_at: JobVersion) -> JobVersion:
    """Return the version of everything older: what the replace itself asks for is still to be done."""
    at, number = replaced_at.version.occurred_at, replaced_at.version.accepted
    return JobVersion(Version(at, number - 1), replaced_at.job)


def _places_of(relation: Relation) -> tuple[Place, Place]:
    by_parent = (relation.type, SIDES["p"], relation.parent)
    return by_parent, (relation.type, SIDES["c"], relation.child)


def _fields_of(relation: Relation) -> tuple[str, str]:
    by_parent = field_of("p", relation.type, relation.parent)
    return by_parent, field_of("c", relation.type, relation.child)


def _as_text(replaced_at: JobVersion) -> str:
    version = replaced_at.version
    return f"{version.occurred_at} {version.accepted} {short_id(replaced_at.job)}"


def _read(database: Database, account: str, fields: Iterable[str]) -> dict[str, list[JobVersion]]:
    if not (wanted := list(fields)):
        return {}
    reads = database.reads(account)
    reads.hmget("replaced", wanted)
    return {
        field: read_versions(account, text)
        for field, text in zip(wanted, reads.run()[0], strict=True)
        if text
    }


def read_versions(account: str, text: bytes) -> list[JobVersion]:
    """Return the versions of the replaces of one side, as they are stored."""
    words = iter(text.decode().split(" "))
    return [
        JobVersion(Version(int(at), int(number)), f"{account}-{short}")
        for at, number, short in zip(words, words, words, strict=True)
    ]
