"""People's acts on jobs in memory: the same answers as on Redis."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from worker.contract import Relation
from worker.ports import (
    CANCELLED,
    ERASED,
    AdminResult,
    AuditEntry,
    AuditPage,
    Dismissal,
    Lease,
    Payload,
    RecordRef,
    Replay,
    ReplayEntry,
    ReplayState,
)
from worker.store.limits import JOBS_PER_CALL, REPLAY_LIFETIME
from worker.testing.account import AccountState
from worker.testing.erasure import erase_record, names_record
from worker.testing.store import MemoryStore
from worker.testing.stored import StoredJob, StoredReplay, replace, to_us


class MemoryJobAdmin:
    """Implements `ports.JobAdmin` over what a MemoryStore holds."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def cancel(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """End changes that wait in the inbox."""
        state, now = self._state(account), self._now()
        done, refused, cancelled = list[str](), dict[str, str](), 0
        for job_id in dict.fromkeys(jobs):
            job = state.job(job_id, now)
            if job and job.record.state == "queued":
                state.cancel_job(job, CANCELLED, now)
                cancelled += 1
            elif not job or job.record.by != CANCELLED:
                refused[job_id] = job.record.state if job else "gone"
                continue
            done.append(job_id)
        state.write_audit_entry(audit_entry if jobs else None, cancelled, now)
        return AdminResult(tuple(done), refused)

    def dismiss(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """Mark failed jobs as decided, so that they wait no longer."""
        state, now = self._state(account), self._now()
        done, refused, dismissed = list[str](), dict[str, str](), 0
        for job_id in dict.fromkeys(jobs):
            job = state.job(job_id, now)
            if job and job.record.state == "failed":
                dismissed += not job.record.dismissed
                _dismiss(state, job, Dismissal(now, audit_entry.by, audit_entry.note))
                done.append(job_id)
            else:
                refused[job_id] = job.record.state if job else "gone"
        state.write_audit_entry(audit_entry if jobs else None, dismissed, now)
        return AdminResult(tuple(done), refused)

    def link_replacement(self, job: str, new: Sequence[str], *, by: str, mark: str = "") -> None:
        """Link a failed job with those sent in its place, and dismiss it."""
        for job_id in new:
            if stored := self._job(job_id):
                stored.record = replace(stored.record, replays=job)
        original = self._job(job)
        if original and original.record.state == "failed":
            _dismiss(self._state(_account(job)), original, Dismissal(self._now(), by, "replaced"))
            record = original.record
            original.record = replace(record, replayed_by=tuple(new), replay=mark or record.replay)

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Add an entry to the audit log."""
        self._state(account).write_audit_entry(audit_entry, audit_entry.count, self._now())

    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> AuditPage:
        """Return a page of the audit log, newest first."""
        entries = self._state(account).audit_log.values()
        newest = sorted(entries, key=lambda entry: (entry.at, entry.name), reverse=True)
        start = [entry.name for entry in newest].index(cursor) + 1 if cursor else 0
        page = newest[start : start + limit]
        return AuditPage(tuple(page), page[-1].name if len(page) == limit else "")

    def get_payload(self, job: str) -> Payload | None:
        """Return what is kept of the unreadable message that the job stands for."""
        stored = self._state(_account(job)).payloads.get(job)
        return stored.payload if stored and self._now() < stored.expires else None

    def save_replay(self, replay: Replay, entries: Sequence[ReplayEntry], audit_entry: AuditEntry) -> None:
        """Save a replay and its set."""
        state, now = self._state(replay.account), self._now()
        saved = replace(replay, state="previewed", made_at=now)
        expires = now + to_us(REPLAY_LIFETIME)
        state.replays.setdefault(replay.id, StoredReplay(saved, tuple(entries), expires))
        state.write_audit_entry(audit_entry, replay.eligible, now)

    def get_replay(self, replay_id: str) -> Replay | None:
        """Return one replay, with its progress."""
        stored = self._replay(replay_id)
        return stored.replay if stored else None

    def list_replays(self, account: str, *, limit: int = 50) -> list[Replay]:
        """Return the account's replays, newest first."""
        stored = self._state(account).replays.values()
        newest = sorted(stored, key=lambda each: (each.replay.made_at, each.replay.id), reverse=True)
        return [each.replay for each in newest[:limit] if self._now() < each.expires]

    def replay_entries(self, replay_id: str, start: int, most: int) -> list[ReplayEntry]:
        """Return a piece of the replay's set."""
        stored = self._replay(replay_id)
        return list(stored.entries[start : start + most]) if stored else []

    def set_replay_state(
        self, replay_id: str, to: ReplayState, audit_entry: AuditEntry
    ) -> ReplayState | None:
        """Start, continue or stop a replay; return its state."""
        stored, now = self._replay(replay_id), self._now()
        if stored is None or stored.replay.state == "done":
            return stored.replay.state if stored else None
        if to == "running":
            stored.advanced_at = now
        if stored.replay.state == to:
            return to
        run_at = stored.replay.run_at or (now if to == "running" else 0)
        stored.replay = replace(stored.replay, state=to, run_at=run_at)
        self._state(stored.replay.account).write_audit_entry(audit_entry, stored.replay.done, now)
        return to

    def advance_replay(
        self,
        replay: Replay,
        start: int,
        end: int,
        *,
        back: int,
        missed: Mapping[str, int],
        audit_entry: AuditEntry,
    ) -> ReplayState | None:
        """Count a piece of the set as worked, once; return the replay's state."""
        stored, now = self._replay(replay.id), self._now()
        if stored is None:
            return None
        before, is_last = stored.replay, end == replay.eligible
        if before.done != start or before.state == "done" or (start == end and not is_last):
            return before.state
        all_missed = dict(Counter(before.missed) + Counter(missed))
        stored.replay = replace(before, done=end, back=before.back + back, missed=all_missed)
        stored.advanced_at = now
        if is_last:
            stored.replay = replace(stored.replay, state="done", finished_at=now)
            self._state(replay.account).write_audit_entry(audit_entry, stored.replay.back, now)
        return stored.replay.state

    def stalled_replays(self, account: str, seconds: float) -> list[str]:
        """Return the replays that should run and have not advanced for so long."""
        now, before = self._now(), self._now() - to_us(seconds)
        stalled = [
            (stored.advanced_at, stored.replay.id)
            for stored in self._state(account).replays.values()
            if stored.replay.state == "running" and now < stored.expires and stored.advanced_at <= before
        ]
        return [replay_id for _, replay_id in sorted(stalled)]

    def touch_replay(self, replay_id: str) -> None:
        """Note that the replay was given to a worker."""
        if stored := self._replay(replay_id):
            stored.advanced_at = self._now()

    def count_unsettled(self, account: str) -> int:
        """Return the number of requests that were begun and not settled."""
        return len(self._state(account).journal)

    def open_relations_with(self, account: str, who: RecordRef) -> list[Relation]:
        """Return the open relations whose work names a record."""
        opens = self._state(account).opens
        return sorted(
            relation
            for relation, work in opens.items()
            if who.is_part_of(relation) or names_record(who, work)
        )

    def erase_jobs(self, lease: Lease, who: RecordRef, after: int) -> tuple[int, Mapping[str, int]]:
        """Erase a record from the next jobs."""
        lease.renew()
        state, now = self._state(lease.account), self._now()
        numbers = [number for number in sorted(state.index) if number > after][:JOBS_PER_CALL]
        jobs = [job for number in numbers if (job := state.job(state.index[number], now))]
        for job in jobs:
            labels = (
                name
                for name in ("source", "batch", "correlation")
                if names_record(who, getattr(job.record, name))
            )
            job.record = replace(job.record, **dict.fromkeys(labels, ""))
        named = [job for job in jobs if any(map(who.is_part_of, job.relations))]
        emptied = [_erase(state, job, who, now) for job in named]
        last = numbers[-1] if len(numbers) == JOBS_PER_CALL else 0
        return last, {"jobs": len(named), "emptied": sum(emptied)}

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> tuple[int, Mapping[str, int]]:  # noqa: ARG002
        """Erase a record from everything else that is kept, all at once."""
        lease.renew()
        return 0, erase_record(self._state(lease.account), who, now=self._now())

    def _job(self, job_id: str) -> StoredJob | None:
        return self._state(_account(job_id)).job(job_id, self._now())

    def _replay(self, replay_id: str) -> StoredReplay | None:
        stored = self._state(_account(replay_id)).replays.get(replay_id)
        return stored if stored and self._now() < stored.expires else None

    def _state(self, account: str) -> AccountState:
        return self._store._state(account)

    def _now(self) -> int:
        return self._store._now()


def _account(id_: str) -> str:
    return id_.rpartition("-")[0]


def _dismiss(state: AccountState, job: StoredJob, dismissal: Dismissal) -> None:
    state.failed.pop(job.record.id, None)
    job.record = replace(job.record, dismissed=job.record.dismissed or dismissal)


def _erase(state: AccountState, job: StoredJob, who: RecordRef, now: int) -> bool:
    """Erase the record from the job; return whether nothing is left of it."""
    lost = [relation for relation in job.remaining or job.relations if who.is_part_of(relation)]
    if job.record.state == "queued":
        _end_some(state, job, lost, now)
    record = job.record
    parents = tuple(each for each in record.parents if not who.is_on("p", record.type, each))
    children = tuple(each for each in record.children if not who.is_on("c", record.type, each))
    failed = tuple(relation for relation in record.failed if not who.is_part_of(relation))
    if record.state == "failed" and not failed:
        state.failed.pop(record.id, None)
    is_empty = not parents or not children
    changed: dict[str, Any] = {"event_id": ""}
    if record.refusal:
        changed["refusal"] = (record.refusal[0], record.refusal[1], "", "")
    if is_empty:
        changed |= {"parents": (), "children": (), "failed": (), "info": (), "by": ERASED}
    else:
        changed |= {"parents": parents, "children": children, "failed": failed}
    job.record = replace(record, **changed)
    job.remaining = tuple(each for each in job.remaining if not who.is_part_of(each))
    return is_empty


def _end_some(state: AccountState, job: StoredJob, lost: Sequence[Relation], now: int) -> None:
    """End what is left to do about the record, and the job with it if that was all."""
    if job.left == len(lost):
        state.cancel_job(job, ERASED, now)
    elif lost:
        job.left -= len(lost)
        counts = {**job.record.counts, "superseded": job.record.counts["superseded"] + len(lost)}
        job.record = replace(job.record, counts=counts, by=ERASED)
        state.counts["relations_superseded"] += len(lost)
