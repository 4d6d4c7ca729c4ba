"""The status store on Redis or Valkey: what intake, sweep and people read and do, each account in one slot.

The keys and their lifetimes are in `keys.py`; jobs, and what the holder of a lease does, stand beside.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from worker.contract import Relation, account_of
from worker.planner.relation_state import RelationRecord
from worker.ports.job_admin import ALL_FAILED
from worker.ports.records import FOREVER, JobRecord, RelationEvent
from worker.ports.requests import RequestRecord
from worker.ports.store import Retention
from worker.redis.client import Client, tells_unreadable
from worker.store import codec
from worker.store.account import AccountCommit, read_jobs, read_jobs_with_claims
from worker.store.acts import commit_of_people, send_act
from worker.store.clock_step import RedisClockStep
from worker.store.database import Database, repeat_while_overtaken
from worker.store.due import RedisDue
from worker.store.intake import RedisIntake
from worker.store.jobs import job_references, lifecycle
from worker.store.jobs.job_view import as_record
from worker.store.jobs.stored_job import IndexedState, LoadedJob
from worker.store.keys import short_id
from worker.store.lease.lease import RedisLease, take_lease
from worker.store.lease.queue import enter_list
from worker.store.lease.replaced import read_relations
from worker.store.limits import FIRST_WAKE_DELAY_US
from worker.store.meta import META_FIELDS, Meta
from worker.store.pauses import RedisPauses
from worker.store.tidy import tidy


class RedisStore(RedisIntake, RedisDue, RedisPauses, RedisClockStep):
    """Implements `ports.Store`. Pass `now` (µs) in tests only; production uses Redis's clock."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        *,
        keep: Callable[[str], Retention] = lambda _: Retention(),
        now: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(Database(client, prefix, now), keep)

    # --- work

    def lease(self, account: str, holder: str) -> RedisLease | None:
        """Return the account's lease, None while another holder has it."""
        keep = self.retention(account)
        return repeat_while_overtaken(account, lambda: take_lease(self.database, account, holder, keep))

    @tells_unreadable
    def tidy(self, account: str, after: int = 0) -> int:
        """Drop what has expired from a part of the account's data; return the number to continue after."""
        return tidy(self.database, account, self.retention(account), after)

    # --- reading

    def accounts(self) -> list[str]:
        """Return every account that ever had a change."""
        return sorted(self.registry.names())

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return one job."""
        account, short = account_of(job_id), short_id(job_id)
        job = read_jobs_with_claims(self.database, account, [short]).get(short)
        return as_record(job, account) if job and not job.is_gone(self.database.now()) else None

    @tells_unreadable
    def batch_counts(self, account: str, label: str) -> Mapping[str, int]:
        """Return the counts of a batch label."""
        return codec.counts(self.database.read(account, "hgetall", f"batch:{label}"))

    @tells_unreadable
    def counts(self, account: str) -> Mapping[str, int]:
        """Return the account's counters, with how much is waiting now."""
        reads = self.database.reads(account)
        reads.llen("queue")
        reads.llen("look_ups")
        reads.hlen("open")
        reads.hmget("meta", ("dead", "held"))
        reads.hgetall("counts")
        listed, unresolved, opened, (dead, held), counts = reads.run()
        waiting = {"backlog": listed + unresolved - int(dead or 0), "open": opened + int(held or 0)}
        return {**codec.counts(counts), **waiting}

    def relation_history(
        self, account: str, relation: Relation
    ) -> tuple[RelationRecord, tuple[RelationEvent, ...]]:
        """Return what is kept of a relation, and the jobs that named it, oldest first."""
        memory = read_relations(self.database, account, [relation], now=self.database.now())[relation]
        waiting = [
            RelationEvent(intent.job, "", "") for intent in (memory.open.intents if memory.open else ())
        ]
        return memory.record, (*memory.history(account), *waiting)

    @tells_unreadable
    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        """Return what was sent and answered."""
        row = self.database.read(account, "get", f"request:{request_id}")
        return msgspec.json.decode(row, type=RequestRecord) if row else None

    @tells_unreadable
    def failed_jobs(self, account: str, *, limit: int) -> list[str]:
        """Return the ids of failed jobs that wait for a decision, oldest first."""
        found, start, now = list[str](), 0, self.database.now()
        while len(found) < limit:
            last = start + limit - len(found) - 1
            ids = self.database.read_names(account, "zrange", "failed", start, last)
            if not ids:
                break
            known = read_jobs(self.database, account, map(short_id, ids))
            found += [id_ for id_ in ids if (job := known.get(short_id(id_))) and not job.is_gone(now)]
            start += len(ids)
        return found

    # --- what failed goes back: into the queue, or to be looked up

    def requeue(
        self,
        account: str,
        jobs: Sequence[str],
        *,
        mark: str = "",
        since: int = FOREVER,
        only: Mapping[str, Collection[str]] = ALL_FAILED,
    ) -> tuple[list[str], bool]:
        """Put the failed relations of these jobs, or only some of them, back into the inbox."""
        return repeat_while_overtaken(account, lambda: self._requeue(account, jobs, mark, since, only))

    def _requeue(
        self, account: str, wanted: Sequence[str], mark: str, since: int, only: Mapping[str, Collection[str]]
    ) -> tuple[list[str], bool]:
        database, keep, now = self.database, self.retention(account), self.database.now()
        reads = database.reads(account)
        reads.hmget("meta", META_FIELDS)
        reads.hmget("wake", ("at", "idle"))
        reads.hget("holder", "wakes")
        meta, (marked_at, is_idle), wakes = reads.run()
        is_woken = wakes or (marked_at and not is_idle)
        found = read_jobs_with_claims(database, account, dict.fromkeys(map(short_id, wanted)))
        commit = commit_of_people(database, account, keep, now=now, meta=Meta.read(meta), adds=True)
        requeued, lists = list[str](), dict[str, list[str]]()
        for id_ in wanted:
            job = found.get(short_id(id_))
            if job is None or job.is_gone(now):
                continue
            before = bool(mark) and job.value.replay == mark
            can_be = lifecycle.failures_to_requeue(job, since, only.get(id_, ()))
            key = "" if before else _put_back(commit, job, can_be, mark, since)
            if key:
                lists.setdefault(key, []).append(job.short)
            waits = not mark and job.is_queued and bool(job.value.again)
            if key or can_be or before or waits:
                requeued.append(id_)
        if not lists:
            return requeued, False
        claimed = database.read_names(account, "lrange", "claimed", 0, -1)
        for short in set(lists.get("queue", ())).intersection(claimed):
            commit.run("LREM", "claimed", 0, short)  # it ended there; who finds it there folds it once more
        for key, shorts in lists.items():
            enter_list(commit, key, [found[short] for short in shorts])
        commit.check("holder", "wakes", wakes or b"")
        if wakes or not is_woken:
            commit.run("DEL", "wake")
            commit.run("HSET", "wake", "at", now, "delay", FIRST_WAKE_DELAY_US)
        send_act(commit)
        return requeued, not is_woken


def _put_back(commit: AccountCommit, job: LoadedJob, failures: Collection[str], mark: str, since: int) -> str:
    """Put a failed job back with these failures, or to be looked up; return the list it joins, if any."""
    before, dismissed = IndexedState.of(job), job.value.dismissed
    if failures:
        lifecycle.requeue(job, failures, mark, now=commit.now)
    elif job_references.has_failed_look_up(job) and not (dismissed and dismissed[0] > since):
        job_references.look_up_again(job, mark, now=commit.now)
    else:
        return ""
    commit.put(job, before)
    return "queue" if failures else "look_ups"
