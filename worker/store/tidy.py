"""Drops what has expired of an account, a bounded part at a time."""

import math
from collections.abc import Mapping, Sequence

from worker.contract.instant import to_us
from worker.ports.store import Retention
from worker.store.account import AccountCommit, closed_guards, read_alive, read_jobs
from worker.store.acts import commit_of_people, trim_audit_log
from worker.store.database import Database
from worker.store.keys import bucket_at
from worker.store.lease.queue import Queue
from worker.store.limits import MAX_EXAMINED
from worker.store.meta import META_FIELDS, NOTED_FIELDS, Meta
from worker.store.pauses import PAUSE_FIELDS, KnownPause


def tidy(database: Database, account: str, keep: Retention, after: int) -> int:
    """Drop what has expired; return the acceptance number of kept jobs to continue after, 0 at their end.

    What somebody else changes at the same time is left to the next call.
    """
    reads = database.reads(account)
    reads.hmget("meta", META_FIELDS)
    reads.hmget("pause", PAUSE_FIELDS)
    reads.hgetall("buckets")
    reads.zrangebyscore("keep", f"({after}", "+inf", start=0, num=MAX_EXAMINED, withscores=True)
    reads.lrange("requests", -MAX_EXAMINED, -1)
    meta_row, pause, buckets, kept, requests = reads.run()
    meta = Meta.read(meta_row)
    if meta.layout is None:
        return 0
    part = _Tidying(database, account, meta.retention(keep), meta)
    part.note_retention(keep)
    part.end_pause(KnownPause.read(pause))
    counts = {int(number): int(count) for number, count in buckets.items()}
    if not any(count > 0 and bucket <= bucket_at(meta.events_since) for bucket, count in counts.items()):
        part.turn_events()
    part.turn_memories()
    part.drop_buckets(counts)
    part.drop_kept([name.decode() for name, _ in kept])
    part.drop_requests(requests)
    part.drop_guards()
    if meta.dead:
        part.drop_dead()
    trim_audit_log(database, account)
    return int(kept[-1][1]) if len(kept) == MAX_EXAMINED else 0


class _Tidying:
    """One part of an account's data, and the account's versions as they were when it was read."""

    def __init__(self, database: Database, account: str, keep: Retention, meta: Meta) -> None:
        self._database, self._account, self._keep, self._meta = database, account, keep, meta
        self._now = database.now()

    def end_pause(self, known: KnownPause) -> None:
        """Forget a pause whose time is over."""
        if known.pause and not known.in_force(self._now):
            commit = self._commit()
            commit.check("pause", "since", known.since)
            commit.run("DEL", "pause")
            commit.try_send()

    def note_retention(self, settings: Retention) -> None:
        """Note what the settings say, as long as nothing is promised that is longer."""
        finished, failed, remembered = map(math.ceil, settings[:3])
        noted = self._meta.note(Retention(finished, failed, remembered), now=self._now)
        if settings.is_set and noted != self._meta:
            commit = self._commit()
            for name in NOTED_FIELDS:
                commit.hset("meta", name, getattr(noted, name))
            commit.try_send()

    def turn_events(self) -> None:
        """Let the older idempotency keys go, as `accept` does when there are new ones."""
        since, generation = self._meta.events_since, 1 - self._meta.events
        period = max(self._keep.finished, self._keep.remembered, self._meta.finished_s)
        if since and self._now - since > to_us(period):
            commit = self._commit()
            commit.check("meta", "events_since", since)
            commit.run("DEL", f"events:{generation}")
            commit.run("HSET", "meta", "events", generation, "events_since", self._now)
            commit.try_send()

    def turn_memories(self) -> None:
        """Let the older memories go; a holder of the lease reads again which generation is written."""
        since, generation = self._meta.memories_since, 1 - self._meta.memories
        if since and self._now - since > to_us(self._keep.memory):
            commit = self._commit()
            commit.raise_version("v", self._meta.lease_version)
            commit.run("DEL", f"memories:{generation}")
            commit.run("HSET", "meta", "memories", generation, "memories_since", self._now)
            commit.try_send()

    def drop_buckets(self, counts: Mapping[int, int]) -> None:
        """Forget buckets that have expired."""
        alive = read_alive(self._database, self._account, counts)
        for bucket, count in counts.items():
            if bucket not in alive:
                commit = self._commit()
                commit.check("buckets", str(bucket), count)
                commit.run("HDEL", "buckets", bucket)
                commit.try_send()

    def drop_kept(self, names: Sequence[str]) -> None:
        """Forget jobs whose lifetime is over, and entries of those that are not kept any more."""
        commit = commit_of_people(self._database, self._account, self._keep, now=self._now, meta=self._meta)
        found = read_jobs(self._database, self._account, names)
        moved = [name for name in names if name not in found or not found[name].is_kept]
        if moved:
            commit.run("ZREM", "keep", *moved)
        gone = [job for job in found.values() if job.is_kept and job.is_gone(self._now)]
        if gone:
            digests = [job.value.digest for job in gone]
            events = self._database.read(self._account, "hmget", "events:kept", digests)
            for job, event in zip(gone, events, strict=True):
                commit.drop_kept(job, event)
        if moved or gone:
            commit.try_send()

    def drop_requests(self, listed: Sequence[bytes]) -> None:
        """Drop the oldest ids whose request has expired, which is the order in which they do."""
        reads = self._database.reads(self._account)
        for name in listed:
            reads.exists(f"request:{name.decode()}")
        commit = self._commit()
        for name, exists in zip(reversed(listed), reversed(reads.run()), strict=True):
            if exists:
                break
            commit.run("LREM", "requests", -1, name)
        if not commit.is_empty:
            commit.try_send()

    def drop_guards(self) -> None:
        """Drop some guards of relations that are closed, and of which no write is in doubt any more (R12)."""
        reads = self._database.reads(self._account)
        reads.hmget("meta", META_FIELDS)
        reads.zrandmember("guard", MAX_EXAMINED)
        meta, members = reads.run()
        old = closed_guards(self._database, self._account, members or (), now=self._now)
        if old:
            commit = self._commit()
            commit.raise_version("v", Meta.read(meta).lease_version)
            commit.run("ZREM", "guard", *old)
            commit.try_send()

    def drop_dead(self) -> None:
        """Let jobs that ended in the queue leave it as far as they are before all others."""
        reads = self._database.reads(self._account)
        reads.hmget("meta", META_FIELDS)
        reads.lrange("queue", 0, MAX_EXAMINED - 1)
        meta_row, listed = reads.run()
        meta, commit = Meta.read(meta_row), self._commit()
        queue = Queue.read(self._database, self._account, listed, want=MAX_EXAMINED, dead=meta.dead)
        queue.correct_dead(commit)
        queue.drop_dead_head(commit)
        if not commit.is_empty:
            commit.raise_version("v", meta.lease_version)
            commit.try_send()

    def _commit(self) -> AccountCommit:
        return AccountCommit(self._database, self._account, self._keep, now=self._now)
