"""People's acts on jobs: read, decided, and committed while nobody else has come in between."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from worker.contract import Reference, account_of
from worker.ports.job_admin import ALL_FAILED, CANCELLED, AdminResult, Payload
from worker.ports.records import AuditEntry
from worker.store import codec
from worker.store.account import AccountCommit, read_jobs_with_claims, read_memories
from worker.store.acts import RedisAuditLog, send_act
from worker.store.database import repeat_while_overtaken
from worker.store.erasure.erasure import RedisErasure
from worker.store.jobs import job_references, lifecycle
from worker.store.jobs.stored_job import FAILED, IndexedState, LoadedJob
from worker.store.keys import short_id
from worker.store.lease.look_ups import enter_look_ups, leave_look_ups
from worker.store.lease.queue import enter_list
from worker.store.limits import JOBS_PER_CALL, RELATIONS_PER_CALL
from worker.store.replays import RedisReplays

Act = Callable[[AccountCommit, LoadedJob, AuditEntry], bool | str]
"""Acts on one job as the audit log says it; returns whether that changed it, or why it cannot be done."""


class _Link(NamedTuple):
    """A failed job, the jobs that replace it or `only` these relations of it, and who or what did that."""

    job: str
    new: tuple[str, ...]
    by: str
    mark: str
    only: Collection[str]


class RedisJobAdmin(RedisReplays, RedisAuditLog, RedisErasure):
    """Implements `ports.JobAdmin`: acts on jobs, and what its bases do."""

    def cancel(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """End changes that wait in the queue."""
        return self._act_in_pieces(account, jobs, lambda piece: self._cancel(account, piece, audit_entry))

    def dismiss(
        self,
        account: str,
        jobs: Sequence[str],
        audit_entry: AuditEntry,
        *,
        only: Mapping[str, Collection[str]] = ALL_FAILED,
    ) -> AdminResult:
        """Mark failed jobs, or just these relations of them, as decided, so that they wait no longer."""
        return self._act_on_each(account, jobs, audit_entry, partial(_dismiss, only=only))

    def resolve(
        self,
        account: str,
        jobs: Sequence[str],
        records: Mapping[Reference, int],
        audit_entry: AuditEntry,
    ) -> AdminResult:
        """Write which records references of jobs are that wait for them, or have failed for them."""
        act = partial(_resolve, records=records)
        return self._act_on_each(account, jobs, audit_entry, act, over_queue=True)

    def look_up_now(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """Let parked jobs be looked up at once."""
        return self._act_on_each(account, jobs, audit_entry, _look_up_now, over_queue=True)

    def link_replacement(
        self, job: str, new: Sequence[str], *, by: str, mark: str = "", only: Collection[str] = ()
    ) -> None:
        """Link a failed job with those sent in its place, perhaps on another account, and dismiss it."""
        link = _Link(job, tuple(new), by, mark, only)
        for account in dict.fromkeys(account_of(job_id) for job_id in (*new, job)):
            repeat_while_overtaken(account, partial(self._link, account, link))

    def get_payload(self, job: str) -> Payload | None:
        """Return what is kept of the unreadable message that the job stands for."""
        fields = ("body", "faults", "size", "delivered")
        row = self.database.read(account_of(job), "hmget", f"payload:{job}", fields)
        body, faults, size, delivered = row
        if body is None:
            return None
        known = None if delivered is None else delivered == b"1"
        return Payload(body, msgspec.json.decode(faults, type=tuple[str, ...]), int(size), known)

    def _act_in_pieces(
        self,
        account: str,
        wanted: Sequence[str],
        act: Callable[[Sequence[str]], tuple[int, AdminResult]],
    ) -> AdminResult:
        """Act on the jobs in pieces; the audit entry counts them all."""
        left, done, refused = list(dict.fromkeys(wanted)), list[str](), dict[str, str]()
        while left:
            piece = left[:JOBS_PER_CALL]
            looked_at, result = repeat_while_overtaken(account, partial(act, piece))
            left = left[looked_at:]
            done += result.done
            refused |= result.refused
        return AdminResult(tuple(done), refused)

    def _act_on_each(
        self, account: str, wanted: Sequence[str], entry: AuditEntry, act: Act, *, over_queue: bool = False
    ) -> AdminResult:
        """Act on the jobs one by one, each piece of them in one commit."""

        def act_on_piece(piece: Sequence[str]) -> tuple[int, AdminResult]:
            commit, known = self._begin_act(account, entry, over_queue=over_queue)
            kept = codec.kept_audit_entry(entry, known)
            found, changed = self._read_kept(commit, piece), 0
            done, refused = list[str](), dict[str, str]()
            for id_ in piece:
                job = found.get(short_id(id_))
                outcome = act(commit, job, kept) if job else "gone"
                if isinstance(outcome, str):
                    refused[id_] = outcome
                else:
                    done.append(id_)
                    changed += outcome
            _end_act(commit, entry, changed, known)
            return len(piece), AdminResult(tuple(done), refused)

        return self._act_in_pieces(account, wanted, act_on_piece)

    def _cancel(self, account: str, wanted: Sequence[str], entry: AuditEntry) -> tuple[int, AdminResult]:
        commit, known = self._begin_act(account, entry, over_queue=True)
        found, ended, size = self._read_kept(commit, wanted), list[tuple[LoadedJob, IndexedState]](), 0
        done, refused, looked_at = list[str](), dict[str, str](), 0
        for id_ in wanted:
            job = found.get(short_id(id_))
            looked_at += 1
            if job and (job.is_queued or job_references.waits(job)):
                ended.append((job, IndexedState.of(job)))
                size += job.value.left
            elif not job or not lifecycle.is_cancelled(job):
                refused[id_] = job.state if job else "gone"
                continue
            done.append(id_)
            if size >= RELATIONS_PER_CALL:
                break
        self._end_in_queue(commit, ended, CANCELLED)
        _end_act(commit, entry, len(ended), known)
        return looked_at, AdminResult(tuple(done), refused)

    def _end_in_queue(
        self, commit: AccountCommit, ended: Sequence[tuple[LoadedJob, IndexedState]], by: str
    ) -> None:
        """End jobs in the queue; their entries stay there as dead ones until they come to its head."""
        relations = list(dict.fromkeys(relation for job, _ in ended for relation in job.relations()))
        memories = read_memories(self.database, commit.account, relations, now=commit.now, opens=False)
        dead = 0
        for job, before in ended:
            if is_unresolved := job_references.waits(job):
                leave_look_ups(commit, job)
            dead += not is_unresolved
            for relation in job.relations():
                memories[relation].add(job.short, "superseded", by)
            lifecycle.end_in_queue(job, by, now=commit.now, keep=commit.keep)
            commit.put(job, before)
        commit.put_memories(memories.values())
        if dead:
            commit.run("HINCRBY", "meta", "dead", dead)

    def _link(self, account: str, link: _Link) -> None:
        job_id = link.job
        ours = [id_ for id_ in link.new if account_of(id_) == account]
        original = [job_id] if account_of(job_id) == account else []
        commit, _ = self._begin_act(account, over_queue=True)
        found, is_any = self._read_kept(commit, [*ours, *original]), False
        for id_ in ours:
            if (job := found.get(short_id(id_))) and job.value.replays != job_id:
                before = IndexedState.of(job)
                job.value.replays = job_id
                commit.put(job, before)
                is_any = True
        if job := found.get(short_id(job_id)) if original else None:
            is_any |= _replace(commit, job, link)
        if is_any:
            send_act(commit)

    def _read_kept(self, commit: AccountCommit, wanted: Iterable[str]) -> dict[str, LoadedJob]:
        """Return the jobs whose lifetime is not over."""
        shorts = dict.fromkeys(map(short_id, wanted))
        found = read_jobs_with_claims(self.database, commit.account, shorts)
        return {short: job for short, job in found.items() if not job.is_gone(commit.now)}


def _end_act(commit: AccountCommit, entry: AuditEntry, changed: int, known: bytes | None) -> None:
    """Send an act that changed so many jobs, with its audit entry, unless it is known and changes nothing."""
    commit.audit(entry, changed, known)
    if changed or not known:
        send_act(commit)


def _dismiss(
    commit: AccountCommit, job: LoadedJob, entry: AuditEntry, *, only: Mapping[str, Collection[str]]
) -> bool | str:
    if job.value.state != FAILED:
        return job.state
    before, names = IndexedState.of(job), only.get(f"{commit.account}-{job.short}", ())
    if not lifecycle.dismiss(job, names, commit.now, entry.by, entry.note):
        return False
    commit.put(job, before)
    return True


def _resolve(
    commit: AccountCommit, job: LoadedJob, entry: AuditEntry, *, records: Mapping[Reference, int]
) -> bool | str:
    if job_references.is_chosen(job, records):
        return False
    if reason := job_references.reason_not_to_choose(job, records):
        return reason
    before = IndexedState.of(job)
    if job_references.waits(job):
        leave_look_ups(commit, job)
    job_references.choose(job, records, entry.by, now=commit.now)
    commit.put(job, before)
    if job.is_unresolved:
        enter_look_ups(commit, job)
    else:
        enter_list(commit, "queue", [job])
    return True


def _look_up_now(commit: AccountCommit, job: LoadedJob, _entry: AuditEntry) -> bool | str:
    if not job_references.waits(job):
        return job.state
    before = IndexedState.of(job)
    if not job_references.look_up_now(job, now=commit.now):
        return False
    commit.put(job, before)
    enter_look_ups(commit, job)
    return True


def _replace(commit: AccountCommit, job: LoadedJob, link: _Link) -> bool:
    """Link a job with those that replace it, and dismiss it; return whether that was news.

    One that somebody has put back meanwhile is not failed, and goes its own way beside them.
    """
    before, value = IndexedState.of(job), job.value
    known = (value.replayed_by, value.replay)
    value.replayed_by = tuple(dict.fromkeys((*value.replayed_by, *link.new)))
    is_decided = False
    if value.state == FAILED:
        value.replay = link.mark or value.replay
        is_decided = lifecycle.mark_replaced(job, link.only, commit.now, link.by)
    if not is_decided and known == (value.replayed_by, value.replay):
        return False
    commit.put(job, before)
    return True
