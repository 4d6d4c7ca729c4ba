"""Brings forward what is dated ahead in an account, after the store's clock was set back."""

from collections.abc import Sequence
from functools import partial

import msgspec

from worker.contract import Relation
from worker.planner.relation_state import OpenRelation
from worker.store import codec
from worker.store.account import AccountCommit, Before, read_jobs, read_memories, read_meta
from worker.store.acts import Acts, send_act
from worker.store.limits import JOBS_PER_CALL


class RedisClockStep(Acts):
    """What `ports.Store` does after the clock was set back."""

    def bring_forward(self, account: str, by: int) -> int:
        """Let everything be due by so many µs earlier that is dated later than now; return how much that is.

        Open relations with their doubts, which end at the same instant as before, and parked changes.
        """
        now, reads = self.database.now(), self.database.reads(account)
        reads.zrangebyscore("due", f"({now}", "+inf")
        reads.zrangebyscore("parked", f"({now}", "+inf")
        due, parked = ([name.decode() for name in names] for names in reads.run())
        for names, move in ((due, self._move_relations), (parked, self._move_parked)):
            for start in range(0, len(names), JOBS_PER_CALL):
                self._repeat(account, partial(move, account, by, names[start : start + JOBS_PER_CALL]))
        return len(due) + len(parked)

    def _move_relations(self, account: str, by: int, names: Sequence[str]) -> None:
        commit, relations = self._begin_step(account), [Relation.parse(name) for name in names]
        found = read_memories(self.database, account, relations, now=commit.now)
        for relation, (record, memory) in found.items():
            if not record.open:
                continue
            moved = _moved(record.open, by, now=commit.now)
            commit.hset("open", str(relation), codec.encode_open(moved))
            commit.run("ZADD", "due", moved.not_before or moved.since, str(relation))
            if memory.doubt and memory.doubt.until > commit.now:
                memory.doubt = memory.doubt._replace(until=memory.doubt.until - by)
                commit.put_memories([memory])
        send_act(commit)

    def _move_parked(self, account: str, by: int, names: Sequence[str]) -> None:
        commit = self._begin_step(account)
        for short, job in read_jobs(self.database, account, names).items():
            if job.value.parked:
                (since, until, *rest), before = job.value.parked, Before.of(job)
                until = max(1, until - by)
                job.value.parked = (since - by, until, *rest)  # type: ignore[assignment]
                commit.put(job, before)
                commit.run("ZADD", "parked", until, short)
        send_act(commit)

    def _begin_step(self, account: str) -> AccountCommit:
        """Return a commit that holds while the lease's holder writes nothing, who reads again after it."""
        meta, now = read_meta(self.database, account), self.database.now()
        keep = self.retention(account)
        commit = AccountCommit(self.database, account, keep, now=now, generation=meta.memories)
        commit.raise_version("v", meta.lease_version)
        return commit


def _moved(opened: OpenRelation, by: int, *, now: int) -> OpenRelation:
    """Return open work with the times that are later than now so many µs earlier.

    What was put down before it was tried is due since it is open.
    """
    since, until = (max(1, at - by) if at > now else at for at in (opened.since, opened.not_before))
    return msgspec.structs.replace(opened, since=since, not_before=until)
