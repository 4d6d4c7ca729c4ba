"""Puts failed jobs back: their failed relations into the queue, or their references to be looked up."""

from collections.abc import Collection, Mapping, Sequence

from worker.ports.job_admin import ALL_FAILED
from worker.ports.records import FOREVER
from worker.store.account import AccountCommit, read_jobs_with_claims
from worker.store.acts import Acts, commit_of_people, send_act
from worker.store.database import repeat_while_overtaken
from worker.store.jobs import job_references, lifecycle
from worker.store.jobs.stored_job import IndexedState, LoadedJob
from worker.store.keys import short_id
from worker.store.limits import FIRST_WAKE_DELAY_US
from worker.store.meta import META_FIELDS, Meta


class RedisRequeue(Acts):
    """What `ports.Store` does to put failed jobs back."""

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
        meta, (marked_at, is_idle) = reads.run()
        woken = marked_at and not is_idle
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
            commit.run("RPUSH", key, *shorts)
            commit.run("HINCRBY", "meta", "bytes", sum(len(found[short].encode()) for short in shorts))
        if not woken:
            commit.run("DEL", "wake")
            commit.run("HSET", "wake", "at", now, "delay", FIRST_WAKE_DELAY_US)
        send_act(commit)
        return requeued, not woken


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
