"""Reads the next batch of an account under its lease, and mends what it sees contradict itself (R21, R25)."""

from collections.abc import Container, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

from worker.contract import Relation
from worker.planner.relation_state import OpenRelation, RelationRecord
from worker.ports.integrity import StoreFlaw
from worker.ports.work import WorkBatch
from worker.store import codec
from worker.store.account import AccountCommit, read_jobs
from worker.store.jobs.stored_job import QUEUED
from worker.store.lease.claimed_work import ClaimedWork
from worker.store.lease.leased_account import LeasedAccount
from worker.store.lease.queue import WORK_FIELDS, Queue, WorkNote
from worker.store.lease.replaced import Found
from worker.store.meta import META_FIELDS, Meta


class _Found(NamedTuple):
    """What stands in an account's keys as its batch is read: so many jobs are `claimed`, and `waiting`."""

    meta: Meta
    note: WorkNote
    due: list[bytes]
    journal: dict[bytes, bytes]
    listed: list[bytes]
    claimed: int
    waiting: int
    look_ups: bool


def read_batch(
    leased: LeasedAccount, max_jobs: int, max_relations: int, in_progress: Container[Relation]
) -> WorkBatch:
    """Return the next batch, of which a note is left; it stays where it is until claimed."""
    now = leased.database.now()
    found = _read_account(leased, max_jobs, now)
    journal = {name: entry for name, entry in found.journal.items() if name not in leased.under_way}
    leased.note_meta(found.meta)
    if found.claimed and (not leased.claimed.jobs or leased.claimed.recovered is not None):
        return _recover(leased, journal, now)
    limit = found.note.limit(leased.holder, max_jobs)
    # One that grows again after a death leaves none, so that what killed keeps its place in the order.
    for_queue = min(-(-limit // 4), limit - 1, found.waiting) if limit == max_jobs else 0
    due = (Relation.parse(name.decode()) for name in found.due)
    relations = tuple(islice((each for each in due if each not in in_progress), limit - for_queue))
    left = limit - len(relations)
    leased.queue = Queue.read(leased.database, leased.account, found.listed, want=left, dead=leased.meta.dead)
    chosen = leased.queue.choose(left, max_relations - len(relations))
    leased.jobs |= {job.short: job for job in chosen}
    wanted = {job.short: job.relations() for job in chosen}
    known = leased.read_relations(dict.fromkeys((*relations, *chain.from_iterable(wanted.values()))), now=now)
    note = found.note.next(leased.holder, limit, [*map(str, relations), *wanted], full=limit == max_jobs)
    closed = [relation for relation in relations if not known[relation].open]
    mended = _leave_note(leased, note, closed, now)
    records = _note_known(leased, known)
    return WorkBatch(
        now,
        tuple([job.as_claimed(leased.account, wanted[job.short]) for job in chosen]),
        tuple(relation for relation in relations if relation in leased.opened),
        records,
        codec.begun(journal),
        note.is_condemned,
        limit < max_jobs,
        mended=mended,
        look_ups=found.look_ups,
        waiting=found.waiting - leased.meta.dead - len(chosen),
    )


def _read_account(leased: LeasedAccount, max_jobs: int, now: int) -> _Found:
    """Read what there is to do; raise LeaseLost or StoreRolledBack if it is not ours any more."""
    reads = leased.database.reads(leased.account)
    reads.hmget("meta", META_FIELDS)
    reads.hget("holder", "token")
    reads.hmget("work", WORK_FIELDS)
    reads.zrangebyscore("due", "-inf", now, start=0, num=max_jobs)
    reads.hgetall("journal")
    reads.lrange("queue", 0, max_jobs - 1)
    reads.llen("claimed")
    reads.llen("queue")
    reads.llen("look_ups")
    reads.zrange("parked", 0, 0, withscores=True)
    meta, token, work, due, journal, listed, claimed, waiting, unresolved, parked = reads.run()
    if token != leased.holder.encode():
        raise leased.lost()
    leased.journal = set(journal)
    if not journal.keys() >= leased.under_way:
        raise leased.rolled_back()
    return _Found(
        Meta.read(meta),
        WorkNote.read(work),
        due,
        journal,
        listed,
        claimed,
        waiting,
        look_ups=bool(unresolved or (parked and parked[0][1] <= now)),
    )


def _leave_note(
    leased: LeasedAccount, note: WorkNote, closed: Sequence[Relation], now: int
) -> tuple[StoreFlaw, ...]:
    """Write the note of a batch before it is worked, with what its read has mended; return that."""
    commit = leased.commit(now)
    commit.run("HSET", "work", *note.pairs())
    mended = _mend(leased, commit, closed)
    leased.queue.drop_dead_head(commit)
    _turn_memories(leased, commit)
    leased.send(commit)
    return mended


def _mend(leased: LeasedAccount, commit: AccountCommit, closed: Sequence[Relation]) -> tuple[StoreFlaw, ...]:
    """Mend what a read shows to contradict itself; `closed` are due and not open."""
    flaws = [StoreFlaw("due", str(relation), "is due and not open") for relation in closed]
    if closed:
        commit.run("ZREM", "due", *map(str, closed))
    if leased.meta.held and not leased.claimed.jobs:
        message = f"counts {leased.meta.held} claimed relations, and nothing is claimed"
        flaws.append(StoreFlaw("counter", "held", message))
        commit.run("HSET", "meta", "held", 0)
        leased.meta = leased.meta._replace(held=0)
    if leased.queue.correct_dead(commit):
        message = f"counts {leased.meta.dead} entries that wait no more, and others do"
        flaws.append(StoreFlaw("counter", "dead", message))
    return tuple(flaws)


def _turn_memories(leased: LeasedAccount, commit: AccountCommit) -> None:
    """Begin a new generation of memories once the older one has outlived what it holds."""
    meta = leased.meta
    if meta.memories_since and commit.now - meta.memories_since <= round(leased.keep.memory * 1e6):
        return
    generation = meta.memories
    if meta.memories_since:
        generation = 1 - generation
        commit.run("DEL", f"memories:{generation}")
    commit.run("HSET", "meta", "memories", generation, "memories_since", commit.now)
    leased.meta = meta._replace(memories=generation, memories_since=commit.now)


def _recover(leased: LeasedAccount, journal: Mapping[bytes, bytes], now: int) -> WorkBatch:
    """Return the jobs that a dead worker had claimed, for those of their relations that are not open."""
    claimed_ids = leased.database.read_names(leased.account, "lrange", "claimed", 0, -1)
    leased.jobs |= read_jobs(leased.database, leased.account, claimed_ids)
    waiting = [
        job
        for short in claimed_ids
        if (job := leased.jobs.get(short)) and job.value.state == QUEUED and not job.is_unresolved
    ]
    named = dict.fromkeys(relation for job in waiting for relation in job.relations())
    found = leased.read_relations(named, now=now)
    records = _note_known(leased, found)
    leased.claimed = ClaimedWork(jobs=set(claimed_ids), recovered={job.short for job in waiting})
    claimed = []
    for job in waiting:
        id_ = f"{leased.account}-{job.short}"
        left = tuple(each for each in job.relations() if not _has_intent(found[each].open, id_))
        if left:
            claimed.append(job.as_claimed(leased.account, left))
    return WorkBatch(now, tuple(claimed), (), records, codec.begun(journal), recovered=True)


def _note_known(leased: LeasedAccount, found: Found) -> dict[Relation, RelationRecord]:
    """Return what there is of relations, without those of which there is nothing."""
    leased.note(found)
    claimed = leased.claimed.relations
    return {
        relation: leased.record_of(relation)
        for relation, memory in found.items()
        if memory.open or memory.confirmed is not None or relation in claimed
    }


def _has_intent(opened: OpenRelation | None, job: str) -> bool:
    """Return whether a job has a say in open work."""
    return opened is not None and any(intent.job == job for intent in opened.intents)
