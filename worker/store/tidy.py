"""Drops what has expired of an account, a bounded part at a time."""

from collections.abc import Sequence

from worker.contract import Relation
from worker.store.account import META_FIELDS, AccountCommit, Meta, read_jobs, read_memories
from worker.store.acts import commit_of_people
from worker.store.audit_log import trim_audit_log
from worker.store.database import Database
from worker.store.keys import bucket_at
from worker.store.limits import MAX_EXAMINED, Retention, to_us
from worker.store.pauses import PAUSE_FIELDS, KnownPause
from worker.store.queue import Queue


def tidy(database: Database, account: str, keep: Retention, after: int) -> int:
    """Drop what has expired; return the acceptance number of kept jobs to continue after, 0 at their end.

    What somebody else changes at the same time is left to the next call.
    """
    now = database.now()
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
    _try(_end_pause(database, account, keep, KnownPause.read(pause), now))
    is_any_open = any(
        int(count) > 0 and int(number) < bucket_at(meta.events_since) for number, count in buckets.items()
    )
    if not is_any_open:
        _try(_turn_events(database, account, keep, meta, now))
    _try(_turn_memories(database, account, keep, meta, now))
    _drop_buckets(database, account, keep, {int(number): count for number, count in buckets.items()}, now)
    _try(_drop_kept(database, account, keep, meta, [name.decode() for name, _ in kept], now))
    _try(_drop_requests(database, account, keep, requests, now))
    _try(_drop_guards(database, account, keep, now))
    if meta.dead:
        _try(_drop_dead(database, account, keep, now))
    trim_audit_log(database, account)
    return int(kept[-1][1]) if len(kept) == MAX_EXAMINED else 0


def _try(commit: AccountCommit | None) -> None:
    if commit and not commit.is_empty:
        commit.try_send()  # what somebody else has changed, the next call finds


def _end_pause(
    database: Database, account: str, keep: Retention, known: KnownPause, now: int
) -> AccountCommit | None:
    if not known.pause or known.in_force(now):
        return None
    commit = AccountCommit(database, account, keep, now=now)
    commit.check("pause", "since", known.since)
    commit.run("DEL", "pause")
    return commit


def _turn_events(
    database: Database, account: str, keep: Retention, meta: Meta, now: int
) -> AccountCommit | None:
    """Let the older idempotency keys go, as `accept` does when there are new ones."""
    if not meta.events_since or now - meta.events_since <= to_us(max(keep.finished, keep.remembered)):
        return None
    commit = AccountCommit(database, account, keep, now=now)
    commit.check("meta", "events_since", meta.events_since)
    commit.run("DEL", f"events:{1 - meta.events}")
    commit.run("HSET", "meta", "events", 1 - meta.events, "events_since", now)
    return commit


def _turn_memories(
    database: Database, account: str, keep: Retention, meta: Meta, now: int
) -> AccountCommit | None:
    """Let the older memories go; a holder of the lease reads again which generation is written."""
    if not meta.memories_since or now - meta.memories_since <= to_us(keep.memory):
        return None
    commit = AccountCommit(database, account, keep, now=now)
    commit.raise_version("v", meta.lease_version)
    commit.run("DEL", f"memories:{1 - meta.memories}")
    commit.run("HSET", "meta", "memories", 1 - meta.memories, "memories_since", now)
    return commit


def _drop_buckets(
    database: Database, account: str, keep: Retention, buckets: dict[int, bytes], now: int
) -> None:
    """Forget buckets that have expired."""
    reads = database.reads(account)
    for number in buckets:
        reads.exists(f"order:{number}")
    for (number, count), exists in zip(buckets.items(), reads.run(), strict=True):
        if not exists:
            commit = AccountCommit(database, account, keep, now=now)
            commit.check("buckets", str(number), count)
            commit.run("HDEL", "buckets", number)
            _try(commit)


def _drop_kept(
    database: Database, account: str, keep: Retention, meta: Meta, names: Sequence[str], now: int
) -> AccountCommit | None:
    if not names:
        return None
    commit = commit_of_people(database, account, keep, now=now, meta=meta)
    found = read_jobs(database, account, names)
    moved = [name for name in names if name not in found or not found[name].is_kept]
    if moved:
        commit.run("ZREM", "keep", *moved)
    gone = [job for job in found.values() if job.is_kept and job.is_gone(now)]
    if gone:
        events = database.read(account, "hmget", "events:kept", [job.value.digest for job in gone])
        for job, event in zip(gone, events, strict=True):
            commit.drop_kept(job, event)
    return commit if moved or gone else None


def _drop_requests(
    database: Database, account: str, keep: Retention, listed: Sequence[bytes], now: int
) -> AccountCommit | None:
    """Drop the oldest ids whose request has expired, which is the order in which they do."""
    reads = database.reads(account)
    for name in listed:
        reads.exists(f"request:{name.decode()}")
    gone: list[bytes] = []
    for name, exists in zip(reversed(listed), reversed(reads.run()), strict=True):
        if exists:
            break
        gone.append(name)
    if not gone:
        return None
    commit = AccountCommit(database, account, keep, now=now)
    for name in gone:
        commit.run("LREM", "requests", -1, name)
    return commit


def _drop_guards(database: Database, account: str, keep: Retention, now: int) -> AccountCommit | None:
    """Drop some guards of relations that are closed, and of which no write is in doubt any more (R12)."""
    reads = database.reads(account)
    reads.hmget("meta", META_FIELDS)
    reads.zrandmember("guard", MAX_EXAMINED)
    meta_row, members = reads.run()
    by_relation = {Relation.parse(member.decode().rpartition("|")[2]): member for member in members or ()}
    found = read_memories(database, account, list(by_relation), now=now)
    old = [
        member
        for relation, member in by_relation.items()
        if not (record := found[relation][0]).open and not (record.doubt and record.doubt.until > now)
    ]
    if not old:
        return None
    meta = Meta.read(meta_row)
    commit = AccountCommit(database, account, keep, now=now)
    commit.raise_version("v", meta.lease_version)
    commit.run("ZREM", "guard", *old)
    return commit


def _drop_dead(database: Database, account: str, keep: Retention, now: int) -> AccountCommit | None:
    """Let jobs that ended in the queue leave it as far as they are before all others."""
    reads = database.reads(account)
    reads.hmget("meta", META_FIELDS)
    reads.lrange("queue", 0, MAX_EXAMINED - 1)
    meta_row, listed = reads.run()
    meta = Meta.read(meta_row)
    queue = Queue.read(database, account, listed, want=MAX_EXAMINED, dead=meta.dead)
    commit = AccountCommit(database, account, keep, now=now)
    commit.check("meta", "v", meta.lease_version or "")
    queue.correct_dead(commit)
    queue.drop_dead_head(commit)
    if commit.is_empty:
        return None
    commit.run("HINCRBY", "meta", "v", 1)
    return commit
