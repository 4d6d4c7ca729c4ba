"""Brings forward what is dated ahead in an account, after the store's clock was set back."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from worker.contract import Relation
from worker.store import codec
from worker.store.account import AccountCommit, Before, read_jobs, read_memories, read_meta
from worker.store.acts import send_act
from worker.store.commit import repeat_while_overtaken
from worker.store.database import Database
from worker.store.limits import JOBS_PER_CALL, Retention

PIECE: Final = JOBS_PER_CALL


def bring_forward(database: Database, account: str, keep: Retention, by: int) -> int:
    """Let everything be due by so many µs earlier that is dated later than now; return how much that is.

    Open relations with their doubts, which end at the same instant as before, and parked changes.
    """
    now, reads = database.now(), database.reads(account)
    reads.zrangebyscore("due", f"({now}", "+inf")
    reads.zrangebyscore("parked", f"({now}", "+inf")
    due, parked = ([name.decode() for name in names] for names in reads.run())
    for piece in _pieces(due):
        repeat_while_overtaken(account, partial(_move_relations, database, account, keep, by, piece))
    for piece in _pieces(parked):
        repeat_while_overtaken(account, partial(_move_parked, database, account, keep, by, piece))
    return len(due) + len(parked)


def _move_relations(database: Database, account: str, keep: Retention, by: int, names: Sequence[str]) -> None:
    commit = _begin(database, account, keep)
    relations = [Relation.parse(name) for name in names]
    for relation, (record, memory) in read_memories(database, account, relations, now=commit.now).items():
        if not record.open or not record.open.not_before:
            continue
        moved = msgspec.structs.replace(record.open, not_before=max(1, record.open.not_before - by))
        commit.hset("open", str(relation), codec.encode_open(moved))
        commit.run("ZADD", "due", moved.not_before, str(relation))
        if memory.doubt and memory.doubt.until > commit.now:
            memory.doubt = memory.doubt._replace(until=memory.doubt.until - by)
            commit.put_memories([memory])
    send_act(commit)


def _move_parked(database: Database, account: str, keep: Retention, by: int, names: Sequence[str]) -> None:
    commit = _begin(database, account, keep)
    for short, job in read_jobs(database, account, names).items():
        if job.value.parked:
            (since, until, *rest), before = job.value.parked, Before.of(job)
            until = max(1, until - by)
            job.value.parked = (since - by, until, *rest)  # type: ignore[assignment]
            commit.put(job, before)
            commit.run("ZADD", "parked", until, short)
    send_act(commit)


def _begin(database: Database, account: str, keep: Retention) -> AccountCommit:
    """Return a commit that holds while the lease's holder writes nothing, and after which it reads again."""
    meta = read_meta(database, account)
    commit = AccountCommit(database, account, keep, now=database.now(), generation=meta.memories)
    commit.raise_version("v", meta.lease_version)
    return commit


def _pieces(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), PIECE):
        yield names[start : start + PIECE]
