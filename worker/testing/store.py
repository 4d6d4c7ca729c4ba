"""The status store in memory: the same answers as the one on Redis, by a clock that is handed in. For one thread."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from worker.contract import Relation
from worker.errors import BacklogFull
from worker.ports import (
    FOREVER,
    NOBODY,
    AcceptResult,
    AuditEntry,
    JobRecord,
    Pause,
    Payload,
    Receipt,
    RefusedChange,
    RelationEvent,
    RelationRecord,
    RequestRecord,
    Submission,
    UnreadableMessage,
)
from worker.store.limits import LEASE, PAYLOAD, PAYLOADS, SWEEP_DELAY, Retention
from worker.testing.account import RESULTS, AccountState
from worker.testing.lease import SECOND, MemoryLease
from worker.testing.stored import Holding, Job, Kept, Wake, replace

AHEAD = 300 * SECOND  # µs a sender's clock may be ahead of ours (R3)
FIRST_DELAY = 2 * SECOND  # µs before a wake-up counts as lost

Reason = Literal["conflict", "ahead", "too_old"]


class MemoryStore:
    """Implements `ports.Store`; `now` gives microseconds since the epoch."""

    def __init__(
        self, now: Callable[[], int], *, keep: Callable[[str], Retention] = lambda _: Retention()
    ) -> None:
        self._now, self._keep = now, keep
        self._states: dict[str, AccountState] = {}
        self._registered: set[str] = set()

    def accept(
        self, account: str, submissions: Sequence[Submission], *, max_backlog: int, oldest: float
    ) -> AcceptResult:
        """Write the submissions, all or none; the same again answers the same."""
        if not submissions:
            return AcceptResult(())
        self._registered.add(account)
        state, now = self._state(account), self._now()
        receipts, refused, fresh = _sift(state, submissions, now, oldest=now - round(oldest * SECOND))
        if refused:
            return AcceptResult((), tuple(refused))
        if fresh and len(state.inbox) + len(fresh) > max_backlog:
            raise BacklogFull(
                f"account {account} has {max_backlog} changes waiting; try again when some are done",
                retry_after=30.0,
            )
        for entry in fresh:
            _admit(state, account, entry, now)
        return AcceptResult(tuple(receipts), wake=bool(fresh) and _woken(state, now))

    def reject(self, account: str, job: str, message: UnreadableMessage) -> Receipt:
        """Keep a message as a failed job that waits for a decision; one that comes again is the same job."""
        self._registered.add(account)
        state, now, key = self._state(account), self._now(), (message.source, message.event_id)
        known = state.rejected.get(key, "")
        if state.job(known, now):
            return Receipt(known, duplicate=known != job)
        state.rejected[key] = job
        _keep_unreadable(state, account, job, message, now)
        return Receipt(job)

    def accept_rounds(
        self, account: str, rounds: Iterable[Sequence[Submission]], *, max_backlog: int, oldest: float
    ) -> Iterator[AcceptResult]:
        """The same for one round after the other."""
        return (self.accept(account, each, max_backlog=max_backlog, oldest=oldest) for each in rounds)

    def lease(self, account: str, holder: str) -> MemoryLease | None:
        """The account's lease, None while another holder has it. Clears the wake mark."""
        state, now = self._state(account), self._now()
        if state.holder(now) not in (None, holder):
            return None
        state.held, state.wake = Holding(holder, now + round(LEASE * SECOND)), None
        return MemoryLease(account, holder, state, self._now)

    def due_accounts(self, accounts: Sequence[str], *, credentials: Mapping[str, str] = NOBODY) -> list[str]:
        """The accounts that a flush message should be sent for now."""
        return [
            account
            for account in accounts
            if _is_due(self._state(account), self._now(), credentials.get(account, ""))
        ]

    def tidy(self, account: str, after: int = 0) -> int:
        """Let the account's indexes forget what is forgotten; where to go on."""
        return self._state(account).tidy(after, self._now())

    def accounts(self) -> list[str]:
        """Every account that ever had a change."""
        return sorted(self._registered)

    def get_job(self, job_id: str) -> JobRecord | None:
        """One job."""
        job = self._state(job_id.rpartition("-")[0]).job(job_id, self._now())
        return job.record if job else None

    def batch_counts(self, account: str, label: str) -> Mapping[str, int]:
        """Counts of a batch label."""
        return {
            name: count
            for name, count in self._state(account).batch(label, self._now()).counts.items()
            if count
        }

    def counts(self, account: str) -> Mapping[str, int]:
        """The account's counters, with what is waiting now."""
        state = self._state(account)
        counts = {name: count for name, count in state.counts.items() if count} | state.open_jobs()
        return {**counts, "backlog": len(state.inbox), "open": len(state.opens)}

    def relation_history(
        self, account: str, relation: Relation
    ) -> tuple[RelationRecord, tuple[RelationEvent, ...]]:
        """What is kept of a relation, and the jobs that named it, oldest first."""
        state, now = self._state(account), self._now()
        record, memory = state.record(relation, now), state.memory(relation, now)
        ended = [memory.mentions[job] for job in sorted(memory.mentions)] if memory else []
        waiting = [
            RelationEvent(intent.job, "", "") for intent in (record.open.intents if record.open else ())
        ]
        return record, tuple(ended + waiting)

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        """What was sent and answered."""
        sent = self._state(account).requests.get(request_id)
        return sent.record if sent and self._now() < sent.ends else None

    def requeue(
        self, account: str, jobs: Sequence[str], *, mark: str = "", since: int = FOREVER
    ) -> tuple[list[str], bool]:
        """Put the failed relations of these jobs back into the inbox."""
        state, now = self._state(account), self._now()
        back, fresh = [], False
        for job_id in jobs:
            job = state.job(job_id, now)
            if job is None:
                state.failed.pop(job_id, None)
                continue
            mine, dismissed = bool(mark) and job.record.replay == mark, job.record.dismissed
            fails = (
                job.record.state == "failed"
                and bool(job.record.failed)
                and not (dismissed and dismissed.at > since)
            )
            if fails and not mine:
                _put_back(state, job, mark, now)
                fresh = True
            if fails or mine or (not mark and job.record.state == "queued" and job.again):
                back.append(job_id)
        return back, fresh and _woken(state, now)

    def failed_jobs(self, account: str, *, limit: int) -> list[str]:
        """Ids of failed jobs, oldest first."""
        return self._state(account).waiting(self._now())[:limit]

    def get_pause(self, account: str) -> Pause | None:
        """Why the account is stopped, if it is."""
        return self._state(account).paused(self._now())

    def pause(self, account: str, pause: Pause, *, audit_entry: AuditEntry | None = None) -> None:
        """Stop the account by hand."""
        if self._state(account).stop(pause, self._now()):
            self._state(account).tell(audit_entry, 1, self._now())

    def resume(self, account: str, *, audit_entry: AuditEntry | None = None, since: int | None = None) -> bool:
        """Let it go on, if it is paused since then; whether it was."""
        state, stopped, now = self._state(account), self.get_pause(account), self._now()
        if since is not None and not (stopped and stopped.since == since):
            return False
        state.pause = state.wake = None
        if not stopped:
            return False
        healed = since is not None and stopped.fingerprint
        state.refused = (stopped.fingerprint, now + 600 * SECOND) if healed else ("", 0)
        if stopped.reason == "brake" or state.braked:
            state.braked = False
            state.deletes.clear()
            state.looked = now
        state.tell(audit_entry, 1, now)
        return True

    def _state(self, account: str) -> AccountState:
        if account not in self._states:
            self._states[account] = AccountState(self._keep(account))
        return self._states[account]


def _sift(
    state: AccountState, submissions: Sequence[Submission], now: int, *, oldest: int
) -> tuple[list[Receipt], list[RefusedChange], list[Submission]]:
    """A receipt for each that may pass, a refusal for each that may not, and those that are new."""
    receipts: list[Receipt] = []
    refused: list[RefusedChange] = []
    fresh: dict[tuple[str, str], Submission] = {}
    for position, entry in enumerate(submissions):
        key = (entry.change.source, entry.event_id)
        known = _known(state, fresh.get(key), key, now)
        if reason := _conflict(entry, known) if known else _untimely(entry, now, oldest):
            refused.append(RefusedChange(position, reason, known[0] if known else ""))
        elif known is None:
            fresh[key] = entry
        receipts.append(
            Receipt(known[0], duplicate=True) if known and known[0] != entry.job else Receipt(entry.job)
        )
    return receipts, refused, list(fresh.values())


def _known(
    state: AccountState, twin: Submission | None, key: tuple[str, str], now: int
) -> tuple[str, str] | None:
    """The job that has this key already, here or in the store, and the fingerprint of its content."""
    if twin:
        return twin.job, _fingerprint(twin)
    job = state.job(state.events.get(key, ""), now)
    if job:
        return job.record.id, job.fingerprint
    before = state.remembered.get(key)
    return (before.job, before.fingerprint) if before and now < before.ends else None


def _fingerprint(entry: Submission) -> str:
    return "" if entry.redelivered else entry.change.fingerprint


def _conflict(entry: Submission, known: tuple[str, str]) -> Reason | None:
    return None if entry.redelivered or known[1] == _fingerprint(entry) else "conflict"


def _untimely(entry: Submission, now: int, oldest: int) -> Reason | None:
    occurred = entry.change.occurred_at
    if occurred is None or oldest <= occurred <= now + AHEAD:
        return None
    return "too_old" if occurred < oldest else "ahead"


def _admit(state: AccountState, account: str, entry: Submission, now: int) -> None:
    """A new job: in the inbox, in the index, counted."""
    change = entry.change
    state.counts["accepted"] += 1
    record = _record(
        entry.job,
        account,
        now,
        number=state.counts["accepted"],
        action=change.action,
        type=change.type,
        parents=change.parents,
        children=change.children,
        info=change.info,
        source=change.source,
        event_id=entry.event_id,
        batch=change.batch,
        correlation=change.correlation,
        occurred_at=now if change.occurred_at is None else min(change.occurred_at, now),
        total=len(change.parents) * len(change.children),
    )
    job = Job(
        record,
        state.counts["accepted"],
        _fingerprint(entry),
        entry.first_halves,
        record.total,
        (change.source, entry.event_id),
    )
    state.jobs[entry.job] = job
    state.events[job.key] = state.index[job.number] = entry.job
    state.inbox.append(entry.job)
    state.arriving.update(entry.first_halves)
    if change.batch:
        batch = state.batch(change.batch, now)
        batch.counts["accepted"] += 1
        batch.ends = FOREVER


def _keep_unreadable(
    state: AccountState, account: str, job: str, message: UnreadableMessage, now: int
) -> None:
    """A failed job with the message's bytes; the oldest beyond so many lose theirs."""
    state.counts.update(accepted=1, failed=1, unreadable=1)
    number, ends = state.counts["accepted"], now + round(state.keep.failed * SECOND)
    said = {
        "source": message.source,
        "event_id": message.event_id,
        "refusal": (0, "unreadable", message.faults[0][:200], ""),
    }
    record = _record(
        job, account, now, number=number, state="failed", occurred_at=now, finished_at=now, **said
    )
    state.jobs[job] = Job(record, number, "", (), 0, ends=ends)
    state.index[number], state.failed[job] = job, number
    state.payloads[job] = Kept(Payload(message.body[:PAYLOAD], message.faults, len(message.body)), ends)
    for old in list(state.payloads)[:-PAYLOADS]:
        del state.payloads[old]


def _record(job: str, account: str, now: int, **known: Any) -> JobRecord:
    """A job's record at its beginning."""
    nothing = {
        "action": "",
        "type": "",
        "parents": (),
        "children": (),
        "info": (),
        "batch": "",
        "total": 0,
        "finished_at": 0,
    }
    none_yet = {
        "attempts": 0,
        "counts": dict.fromkeys(RESULTS, 0),
        "refusal": None,
        "requests": (),
        "failed": (),
        "by": "",
    }
    return JobRecord(
        **{
            "id": job,
            "account": account,
            "state": "queued",
            "accepted_at": now,
            **nothing,
            **none_yet,
            **known,
        }
    )


def _woken(state: AccountState, now: int) -> bool:
    """Whether a message should be sent, marked as sent."""
    if state.wake:
        return False
    state.wake = Wake(now, FIRST_DELAY)
    return True


def _is_due(state: AccountState, now: int, fingerprint: str) -> bool:
    """Whether there is work now that nobody holds and no message waits for; marks one as sent, for twice as long as the last."""
    stopped = state.paused(now)
    if state.holder(now) or (stopped and not stopped.ends_with(fingerprint)):
        return False
    if not (state.inbox or state.journal or any(at <= now for at in state.due.values())):
        return False
    last = state.wake
    if last and last.at + last.delay > now:
        return False
    state.wake = Wake(now, min(2 * last.delay, round(SWEEP_DELAY * SECOND)) if last else FIRST_DELAY)
    return True


def _put_back(state: AccountState, job: Job, mark: str, now: int) -> None:
    """A failed job as before its end, with only its failed relations to do; failures that were erased end superseded."""
    record, failures = job.record, job.record.counts["failed"]
    job.again, job.left, job.ends, job.back_at = record.failed, len(record.failed), FOREVER, now
    counts = {**record.counts, "failed": 0, "superseded": record.counts["superseded"] + failures - job.left}
    cleared = {
        "failed": (),
        "refusal": None,
        "finished_at": 0,
        "dismissed": None,
        "replayed_by": (),
        "replay": mark or record.replay,
    }
    job.record = replace(record, state="queued", counts=counts, **cleared)
    state.failed.pop(record.id, None)
    state.counts["failed"] -= 1
    state.counts["relations_failed"] -= failures
    state.counts["relations_superseded"] += failures - job.left
    if record.batch:
        batch = state.batch(record.batch, now)
        batch.counts["failed"] -= 1
        batch.ends = FOREVER
    state.arriving.update(job.firsts)
    state.inbox.append(record.id)
