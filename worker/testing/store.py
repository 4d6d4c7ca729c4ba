"""The status store in memory: the same answers as the one on Redis, by the test's clock. For one thread."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from worker.contract import Relation
from worker.errors import BacklogFull
from worker.ports import (
    FOREVER,
    LEASE_LIFETIME,
    NOBODY,
    AcceptResult,
    AuditEntry,
    JobRecord,
    Pause,
    Receipt,
    RelationEvent,
    RelationRecord,
    RequestRecord,
    Submission,
    UnreadableMessage,
)
from worker.store.limits import (
    FIRST_WAKE_DELAY_US,
    LONGEST_WAKE_DELAY_US,
    REFUSED_LIFE_US,
    Retention,
)
from worker.testing.account import AccountState
from worker.testing.intake import add_job, add_unreadable, sort_submissions
from worker.testing.lease import MemoryLease
from worker.testing.stored import LeaseHolder, StoredJob, WakeMark, replace, to_us


class MemoryStore:
    """Implements `ports.Store`; `now` gives microseconds since the epoch."""

    def __init__(
        self, now: Callable[[], int], *, keep: Callable[[str], Retention] = lambda _: Retention()
    ) -> None:
        self._now, self._retention = now, keep
        self._states: dict[str, AccountState] = {}
        self._registered: set[str] = set()

    def accept(
        self, account: str, submissions: Sequence[Submission], *, max_backlog: int, oldest: float
    ) -> AcceptResult:
        """Write the submissions, all or none; a repeated call answers the same."""
        if not submissions:
            return AcceptResult(())
        self._registered.add(account)
        state, now = self._state(account), self._now()
        receipts, refused, new = sort_submissions(state, submissions, now, oldest=now - to_us(oldest))
        if refused:
            return AcceptResult((), tuple(refused))
        if new and len(state.inbox) + len(new) > max_backlog:
            raise BacklogFull(
                f"account {account} has {max_backlog} changes waiting; try again when some are done",
                retry_after=30.0,
            )
        for entry in new:
            add_job(state, account, entry, now)
        return AcceptResult(tuple(receipts), wake=bool(new) and _mark_woken(state, now))

    def accept_rounds(
        self, account: str, rounds: Iterable[Sequence[Submission]], *, max_backlog: int, oldest: float
    ) -> Iterator[AcceptResult]:
        """Accept one round after the other."""
        for submissions in rounds:
            yield self.accept(account, submissions, max_backlog=max_backlog, oldest=oldest)

    def reject(self, account: str, job: str, message: UnreadableMessage) -> Receipt:
        """Keep a message as a failed job that waits for a decision; one that comes again is the same job."""
        self._registered.add(account)
        state, now, key = self._state(account), self._now(), (message.source, message.event_id)
        known = state.unreadable.get(key, "")
        if state.job(known, now):
            return Receipt(known, duplicate=known != job)
        state.unreadable[key] = job
        add_unreadable(state, account, job, message, now)
        return Receipt(job)

    def lease(self, account: str, holder: str) -> MemoryLease | None:
        """Return the account's lease, None while another holder has it; clear the wake mark."""
        state, now = self._state(account), self._now()
        if state.holder(now) not in (None, holder):
            return None
        state.lease, state.wake = LeaseHolder(holder, now + to_us(LEASE_LIFETIME)), None
        return MemoryLease(account, holder, state, self._now)

    def due_accounts(self, accounts: Sequence[str], *, credentials: Mapping[str, str] = NOBODY) -> list[str]:
        """Return the accounts to send a flush message for."""
        now = self._now()
        return [
            account
            for account in accounts
            if _is_due(self._state(account), now, credentials.get(account, ""))
        ]

    def tidy(self, account: str, after: int = 0) -> int:
        """Drop what has expired from a part of the account's indexes; return the number to continue after."""
        return self._state(account).tidy(after, self._now())

    def accounts(self) -> list[str]:
        """Return every account that ever had a change."""
        return sorted(self._registered)

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return one job."""
        job = self._state(job_id.rpartition("-")[0]).job(job_id, self._now())
        return job.record if job else None

    def batch_counts(self, account: str, label: str) -> Mapping[str, int]:
        """Return the counts of a batch label."""
        batch = self._state(account).batch_counts(label, self._now())
        return {name: count for name, count in batch.counts.items() if count}

    def counts(self, account: str) -> Mapping[str, int]:
        """Return the account's counters, with how much is waiting now."""
        state = self._state(account)
        counts = {name: count for name, count in state.counts.items() if count} | state.count_open_jobs()
        return {**counts, "backlog": len(state.inbox), "open": len(state.opens)}

    def relation_history(
        self, account: str, relation: Relation
    ) -> tuple[RelationRecord, tuple[RelationEvent, ...]]:
        """Return what is kept of a relation, and the jobs that named it, oldest first."""
        state, now = self._state(account), self._now()
        record, stored = state.record(relation, now), state.relation(relation, now)
        ended = [stored.events[job] for job in sorted(stored.events)] if stored else []
        intents = record.open.intents if record.open else ()
        return record, (*ended, *(RelationEvent(intent.job, "", "") for intent in intents))

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        """Return what was sent and answered."""
        request = self._state(account).requests.get(request_id)
        return request.record if request and self._now() < request.expires else None

    def requeue(
        self, account: str, jobs: Sequence[str], *, mark: str = "", since: int = FOREVER
    ) -> tuple[list[str], bool]:
        """Put the failed relations of these jobs back into the inbox."""
        state, now = self._state(account), self._now()
        requeued, is_any_new = [], False
        for job_id in jobs:
            job = state.job(job_id, now)
            if job is None:
                state.failed.pop(job_id, None)
                continue
            was_requeued, can_be_requeued = (
                bool(mark) and job.record.replay == mark,
                _can_be_requeued(job, since),
            )
            if can_be_requeued and not was_requeued:
                _requeue(state, job, mark, now)
                is_any_new = True
            is_waiting = not mark and job.record.state == "queued" and job.remaining
            if can_be_requeued or was_requeued or is_waiting:
                requeued.append(job_id)
        return requeued, is_any_new and _mark_woken(state, now)

    def failed_jobs(self, account: str, *, limit: int) -> list[str]:
        """Return the ids of failed jobs that wait for a decision, oldest first."""
        return self._state(account).failed_jobs(self._now())[:limit]

    def get_pause(self, account: str) -> Pause | None:
        """Return why the account is paused, if it is."""
        return self._state(account).pause_in_force(self._now())

    def pause(self, account: str, pause: Pause, *, audit_entry: AuditEntry | None = None) -> None:
        """Pause the account for an operator."""
        if self._state(account).set_pause(pause, self._now()):
            self._state(account).write_audit_entry(audit_entry, 1, self._now())

    def resume(
        self, account: str, *, audit_entry: AuditEntry | None = None, since: int | None = None
    ) -> bool:
        """End the pause, if there is one (since then); return whether there was."""
        state, pause, now = self._state(account), self.get_pause(account), self._now()
        if since is not None and not (pause and pause.since == since):
            return False
        state.pause = state.wake = None
        if not pause:
            return False
        other_credentials = since is not None and pause.fingerprint
        state.refused = (pause.fingerprint, now + REFUSED_LIFE_US) if other_credentials else ("", 0)
        if pause.reason == "brake" or state.braked:
            state.braked = False
            state.deletes.clear()
            state.brake_resumed_at = now
        state.write_audit_entry(audit_entry, 1, now)
        return True

    def _state(self, account: str) -> AccountState:
        if account not in self._states:
            self._states[account] = AccountState(self._retention(account))
        return self._states[account]


def _mark_woken(state: AccountState, now: int) -> bool:
    """Return whether a flush message should be sent, and mark it as sent."""
    if state.wake:
        return False
    state.wake = WakeMark(now, FIRST_WAKE_DELAY_US)
    return True


def _is_due(state: AccountState, now: int, fingerprint: str) -> bool:
    """Return whether there is work that nobody holds and no message is under way for, and mark one as sent.

    Each message counts as lost after twice as long as the one before.
    """
    pause = state.pause_in_force(now)
    if state.holder(now) or (pause and not pause.ends_with(fingerprint)):
        return False
    if not (state.inbox or state.journal or any(at <= now for at in state.due.values())):
        return False
    last = state.wake
    if last and last.at + last.delay > now:
        return False
    delay = min(2 * last.delay, LONGEST_WAKE_DELAY_US) if last else FIRST_WAKE_DELAY_US
    state.wake = WakeMark(now, delay)
    return True


def _can_be_requeued(job: StoredJob, since: int) -> bool:
    dismissed = job.record.dismissed
    has_failed = job.record.state == "failed" and bool(job.record.failed)
    return has_failed and not (dismissed and dismissed.at > since)


def _requeue(state: AccountState, job: StoredJob, mark: str, now: int) -> None:
    """Put back a failed job with only its failed relations to do; erased failures end superseded."""
    record, failures = job.record, job.record.counts["failed"]
    job.remaining, job.left, job.requeued_at = record.failed, len(record.failed), now
    job.expires = FOREVER
    erased = failures - job.left
    job.record = replace(
        record,
        state="queued",
        counts={**record.counts, "failed": 0, "superseded": record.counts["superseded"] + erased},
        failed=(),
        refusal=None,
        finished_at=0,
        dismissed=None,
        replayed_by=(),
        replay=mark or record.replay,
    )
    state.failed.pop(record.id, None)
    state.counts["failed"] -= 1
    state.counts["relations_failed"] -= failures
    state.counts["relations_superseded"] += erased
    if record.batch:
        batch = state.batch_counts(record.batch, now)
        batch.counts["failed"] -= 1
        batch.expires = FOREVER
    state.inbox.append(record.id)
