"""What people do to jobs in memory: the same answers as on Redis."""

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
from worker.store.limits import AT_ONCE, REPLAY_LIFE
from worker.testing.account import AccountState
from worker.testing.erasure import mentions, scrub
from worker.testing.lease import SECOND
from worker.testing.store import MemoryStore
from worker.testing.stored import Job, Replaying, replace


class MemoryJobAdmin:
    """Implements `ports.JobAdmin` over what a MemoryStore holds."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def cancel(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """End changes that wait in the inbox."""
        state, now = self._held(account), self._now()
        done, refused, fresh = list[str](), dict[str, str](), 0
        for name in dict.fromkeys(jobs):
            job = state.job(name, now)
            if job and job.record.state == "queued":
                state.withdraw(job, CANCELLED, now)
                fresh += 1
            elif not job or job.record.by != CANCELLED:
                refused[name] = job.record.state if job else "gone"
                continue
            done.append(name)
        state.tell(audit_entry if jobs else None, fresh, now)
        return AdminResult(tuple(done), refused)

    def dismiss(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """Let failed jobs wait for a decision no longer."""
        state, now = self._held(account), self._now()
        found = {name: state.job(name, now) for name in dict.fromkeys(jobs)}
        done = [name for name, job in found.items() if job and job.record.state == "failed"]
        fresh = sum(not state.jobs[name].record.dismissed for name in done)
        for name in done:
            _dismiss(state, name, Dismissal(now, audit_entry.by, audit_entry.note))
        state.tell(audit_entry if jobs else None, fresh, now)
        return AdminResult(
            tuple(done),
            {name: job.record.state if job else "gone" for name, job in found.items() if name not in done},
        )

    def link_replacement(self, job: str, new: Sequence[str], *, by: str, mark: str = "") -> None:
        """Link a failed job with those sent in its place, and dismiss it."""
        for name in new:
            if held := self._job(name):
                held.record = replace(held.record, replays=job)
        original = self._job(job)
        if original and original.record.state == "failed":
            _dismiss(self._held(_account(job)), job, Dismissal(self._now(), by, "replaced"))
            original.record = replace(
                original.record, replayed_by=tuple(new), replay=mark or original.record.replay
            )

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Remember a deed."""
        self._held(account).tell(audit_entry, audit_entry.count, self._now())

    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> AuditPage:
        """Who did what, newest first."""
        told = sorted(self._held(account).deeds.values(), key=lambda deed: (deed.at, deed.name), reverse=True)
        start = [deed.name for deed in told].index(cursor) + 1 if cursor else 0
        page = told[start : start + limit]
        return AuditPage(tuple(page), page[-1].name if len(page) == limit else "")

    def get_payload(self, job: str) -> Payload | None:
        """What is kept of the unreadable message that the job stands for."""
        kept = self._held(_account(job)).payloads.get(job)
        return kept.payload if kept and self._now() < kept.ends else None

    def save_replay(self, replay: Replay, entries: Sequence[ReplayEntry], audit_entry: AuditEntry) -> None:
        """Keep a replay and its set."""
        state, now = self._held(replay.account), self._now()
        made = replace(replay, state="previewed", made_at=now)
        state.replays.setdefault(
            replay.id, Replaying(made, tuple(entries), now + round(REPLAY_LIFE * SECOND))
        )
        state.tell(audit_entry, replay.eligible, now)

    def get_replay(self, replay_id: str) -> Replay | None:
        """One replay, with how far it is."""
        held = self._replaying(replay_id)
        return held.replay if held else None

    def list_replays(self, account: str, *, limit: int = 50) -> list[Replay]:
        """The account's replays, newest first."""
        newest = sorted(
            self._held(account).replays.values(),
            key=lambda each: (each.replay.made_at, each.replay.id),
            reverse=True,
        )
        return [each.replay for each in newest[:limit] if self._now() < each.ends]

    def replay_entries(self, replay_id: str, start: int, most: int) -> list[ReplayEntry]:
        """A piece of its set."""
        held = self._replaying(replay_id)
        return list(held.entries[start : start + most]) if held else []

    def set_replay_state(self, replay_id: str, to: ReplayState, audit_entry: AuditEntry) -> ReplayState | None:
        """Let it run (on), or stop it; the state it is in then."""
        held, now = self._replaying(replay_id), self._now()
        if held is None or held.replay.state == "done":
            return held.replay.state if held else None
        held.moved_at = now if to == "running" else held.moved_at
        if held.replay.state == to:
            return to
        run_at = held.replay.run_at or (now if to == "running" else 0)
        held.replay = replace(held.replay, state=to, run_at=run_at)
        self._held(held.replay.account).tell(audit_entry, held.replay.done, now)
        return to

    def advance_replay(
        self, replay: Replay, start: int, end: int, *, back: int, missed: Mapping[str, int], audit_entry: AuditEntry
    ) -> ReplayState | None:
        """Count a piece of the set as worked, once."""
        held, now = self._replaying(replay.id), self._now()
        if held is None:
            return None
        was, through = held.replay, end == replay.eligible
        if was.done != start or was.state == "done" or (start == end and not through):
            return was.state
        held.replay = replace(
            was, done=end, back=was.back + back, missed=dict(Counter(was.missed) + Counter(missed))
        )
        held.moved_at = now
        if through:
            held.replay = replace(held.replay, state="done", finished_at=now)
            self._held(replay.account).tell(audit_entry, held.replay.back, now)
        return held.replay.state

    def stalled_replays(self, account: str, seconds: float) -> list[str]:
        """The replays that should run and have not come on for so long."""
        now, before = self._now(), self._now() - round(seconds * 1_000_000)
        running = [
            held
            for held in self._held(account).replays.values()
            if held.replay.state == "running" and now < held.ends
        ]
        return [
            held.replay.id
            for held in sorted(running, key=lambda held: (held.moved_at, held.replay.id))
            if held.moved_at <= before
        ]

    def touch_replay(self, replay_id: str) -> None:
        """It was given to a worker once more."""
        if held := self._replaying(replay_id):
            held.moved_at = self._now()

    def count_unsettled(self, account: str) -> int:
        """Requests that were begun and not settled."""
        return len(self._held(account).journal)

    def open_relations_with(self, account: str, who: RecordRef) -> list[Relation]:
        """The open relations whose work names a record."""
        opens = self._held(account).opens
        return sorted(
            relation for relation, opened in opens.items() if who.is_part_of(relation) or mentions(who, opened)
        )

    def erase_jobs(self, lease: Lease, who: RecordRef, after: int) -> tuple[int, Mapping[str, int]]:
        """Take a record out of the next jobs."""
        lease.renew()
        state, now = self._held(lease.account), self._now()
        numbers = [number for number in sorted(state.index) if number > after][:AT_ONCE]
        held = [job for number in numbers if (job := state.job(state.index[number], now))]
        for job in held:
            labels = {
                name: ""
                for name in ("source", "batch", "correlation")
                if mentions(who, getattr(job.record, name))
            }
            job.record = replace(job.record, **labels)
        jobs = [job for job in held if any(map(who.is_part_of, job.relations))]
        emptied = [_erase(state, job, who, now) for job in jobs]
        return numbers[-1] if len(numbers) == AT_ONCE else 0, {"jobs": len(jobs), "emptied": sum(emptied)}

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> tuple[int, Mapping[str, int]]:
        """Take a record out of everything else that is kept."""
        lease.renew()
        return 0 * cursor, scrub(self._held(lease.account), who, now=self._now())

    def _job(self, name: str) -> Job | None:
        return self._held(_account(name)).job(name, self._now())

    def _replaying(self, replay_id: str) -> Replaying | None:
        held = self._held(_account(replay_id)).replays.get(replay_id)
        return held if held and self._now() < held.ends else None

    def _held(self, account: str) -> AccountState:
        return self._store._state(account)

    def _now(self) -> int:
        return self._store._now()


def _account(name: str) -> str:
    return name.rpartition("-")[0]


def _dismiss(state: AccountState, name: str, dismissal: Dismissal) -> None:
    state.failed.pop(name, None)
    record = state.jobs[name].record
    state.jobs[name].record = replace(record, dismissed=record.dismissed or dismissal)


def _erase(state: AccountState, job: Job, who: RecordRef, now: int) -> bool:
    """Take the record out of the job; whether nothing is left of it."""
    lost = [relation for relation in job.again or job.relations if who.is_part_of(relation)]
    guards = tuple(key for key in job.firsts if not _guards(who, key))
    if job.record.state == "queued":
        _withdraw_some(state, job, lost, guards, now)
    record = job.record
    parents, children = (
        tuple(each for each in ids if not who.is_on(side, record.type, each)) for side, ids in _sides(job)
    )
    gone = not parents or not children
    left = tuple(relation for relation in record.failed if not who.is_part_of(relation))
    if record.state == "failed" and not left:
        state.failed.pop(record.id, None)
    changed: dict[str, Any] = {
        "parents": () if gone else parents,
        "children": () if gone else children,
        "event_id": "",
        "failed": left,
    }
    if record.refusal:
        changed["refusal"] = (record.refusal[0], record.refusal[1], "", "")
    if gone:
        changed |= {"info": (), "failed": (), "by": ERASED}
    job.record, job.again = (
        replace(record, **changed),
        tuple(each for each in job.again if not who.is_part_of(each)),
    )
    job.firsts = () if gone else guards
    return gone


def _withdraw_some(
    state: AccountState, job: Job, lost: Sequence[Relation], guards: tuple[str, ...], now: int
) -> None:
    """What waits of a job and is about the record ends; the job with it if that was all."""
    if job.left == len(lost):
        state.withdraw(job, ERASED, now)
    elif lost:
        state.arriving -= Counter(key for key in job.firsts if key not in guards)
        job.left -= len(lost)
        counts = {**job.record.counts, "superseded": job.record.counts["superseded"] + len(lost)}
        job.record = replace(job.record, counts=counts, by=ERASED)
        state.counts["relations_superseded"] += len(lost)


def _sides(job: Job) -> tuple[tuple[str, tuple[int, ...]], tuple[str, tuple[int, ...]]]:
    return ("p", job.record.parents), ("c", job.record.children)


def _guards(who: RecordRef, key: str) -> bool:
    """Whether a guard key names the record: `<type>:<parent>` or `<type>::<child>`."""
    name, _, number = key.rpartition(":")
    return who.is_on("c" if name.endswith(":") else "p", name.rstrip(":"), int(number))
