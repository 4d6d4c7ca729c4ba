"""Why a job waits, and until when: one pure function over what was read, and the reads for it.

The function says of an account and of a relation what the next flush does with them: it asks the same
questions in the same order (`flush`), so what it names is what stands in the way. Nothing is written.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from worker.contract import Relation
from worker.contract.instant import SECOND, write_instant
from worker.errors import NotFound, StoreUnreadable
from worker.planner.relation_state import RelationRecord, Wait, contradicts, next_operation, reopen
from worker.planner.suspicion import is_doubtful
from worker.ports.pace import Grant, Limiter, Pause, Waiting, WaitReason
from worker.ports.queries import AccountState, Queries
from worker.ports.records import OPEN_STATES, JobRecord
from worker.usecases.account_pace import MAX_SLOT_WAIT
from worker.usecases.flush_context import FlushPolicy

MAX_READ: Final = 5000  # relations that are read to explain a list of jobs
PAUSES: Final[Mapping[str, WaitReason]] = {
    "hand": "pause",
    "brake": "brake",
    "credentials": "credentials",
    "clock": "clock",
}
FULL_PACE: Final = Grant(booked=True)
Reasons = Mapping[str, Waiting]
"""Why jobs wait, by their ids."""


class AccountView(NamedTuple):
    """What was read of an account: its state in the store, what its pace would grant now, its policy.

    `policy` is None of an account that is not in the settings (any more).
    """

    name: str
    state: AccountState
    grant: Grant
    policy: FlushPolicy | None

    @property
    def now(self) -> int:
        """When it was read (µs)."""
        return self.state.now


def why_account_waits(view: AccountView) -> Waiting | None:
    """Return why nothing of the account is sent now, whatever waits in it; None if it is sent."""
    state, grant = view.state, view.grant
    if view.policy is None:
        return Waiting("settings", 0, f"account {view.name} is not in the settings, so nobody works it")
    if state.pause and not state.pause.ends_with(view.policy.fingerprint):
        return _why_paused(view.name, state.pause)
    if view.policy.fingerprint and state.refused == view.policy.fingerprint:
        return Waiting("credentials", 0, "the API refused these credentials; others work the account")
    if view.policy.observe:
        return Waiting("observe", 0, f"account {view.name} only observes: nothing but reads is sent")
    if grant.booked:
        return None
    until = view.now + round(grant.wait * SECOND)
    if grant.reason == "breaker":
        silent = f"the API has not answered account {view.name} for a while"
        return Waiting("breaker", until, f"{silent}; then one read tries whether it is there again")
    if grant.reason == "retry_after":
        return Waiting("pace", until, "the API asked to wait (Retry-After)")
    return Waiting("pace", until, "the account's next request may not go earlier")


def why_relation_waits(view: AccountView, relation: Relation, record: RelationRecord) -> Waiting | None:
    """Return why the next flush would leave an open relation alone; None if it works on it."""
    now, opened, doubt = view.now, record.open, record.doubt
    upsert = bool(view.policy and view.policy.retry.upsert)
    state = reopen(opened, record.confirmed, doubt, upsert=upsert) if opened else None
    if opened is None or state is None:
        return None
    last = opened.refusal.message or opened.refusal.error if opened.refusal else "no usable answer"
    step = next_operation(relation, state, now=now)
    if isinstance(step, Wait):
        until = step.until
        lasting = doubt if doubt and doubt.until > now else None
        if opened.held:
            error = opened.refusal.error if opened.refusal else ""
            return Waiting("guard", until, last, relation, error)
        if lasting and until <= lasting.until and contradicts(lasting, state.target):
            why = f"an earlier {lasting.kind} without an answer may still land and undo it"
            return Waiting("doubt", until, why, relation)
        if opened.stage.reads and lasting:
            return Waiting("doubt", until, "it may have landed: it is read back before it is sent", relation)
        if opened.suspicion:
            return Waiting(
                "suspicion", until, f"requests with it fail although others work: {last}", relation
            )
        return Waiting("backoff", until, f"it is tried again after an error: {last}", relation)
    if view.grant.suspects_wait > 0 and is_doubtful(opened, troubled=view.grant.troubled):
        until = now + round(view.grant.suspects_wait * SECOND)
        return Waiting("suspicion", until, "what failed repeatedly rests while others go first", relation)
    return None


def why_job_waits(
    view: AccountView, job: JobRecord, records: Mapping[Relation, RelationRecord]
) -> Waiting | None:
    """Return why an open job waits: for what lasts longest, the account's reason or that of a relation.

    None for a job of which a request is under way, or that has ended.
    """
    if job.state == "sending" or job.state not in OPEN_STATES:
        return None
    own = [
        reason
        for relation in job.relations
        if (record := records.get(relation)) and (reason := why_relation_waits(view, relation, record))
    ]
    reasons = [*filter(None, [why_account_waits(view), why_record_is_missing(job)]), *own]
    if not reasons:
        return why_queue_waits(view) if job.state == "queued" else _turn(view)
    return max(reasons, key=lambda reason: reason.until or float("inf"))


def why_record_is_missing(job: JobRecord) -> Waiting | None:
    """Return which records the job waits for to be found; None if it has them all."""
    if job.parked and job.state == "parked":
        return Waiting("reference", job.parked.until, job.parked.message)
    lacking = dict.fromkeys(each.reference.without_values for each in job.references if not each.record)
    if job.state != "queued" or not lacking:
        return None
    return Waiting("reference", 0, f"the next flush looks up: {', '.join(lacking)}")


def why_queue_waits(view: AccountView) -> Waiting:
    """Return why what waits in the inbox of an account that works is not taken now."""
    window = view.policy.window if view.policy else 0.0
    until = view.state.oldest + round(window * SECOND)
    if window and view.state.oldest and until > view.now:
        return Waiting("window", until, f"changes are collected for {window:g} s")
    return _turn(view)


def _turn(view: AccountView) -> Waiting:
    if view.state.is_leased:
        return Waiting("turn", 0, "a worker has the account at work, and takes it next")
    return Waiting("turn", 0, "it is due: the next worker that is free takes it")


def _why_paused(account: str, pause: Pause) -> Waiting:
    cause = ": ".join(filter(None, (pause.reason, pause.detail)))
    go_on = f"until {write_instant(pause.until)}" if pause.until else f"relations accounts resume {account}"
    how = "it goes on by itself" if pause.until else "when its cause is gone"
    return Waiting(
        PAUSES.get(pause.reason, "pause"),
        pause.until,
        f"account {account} is paused ({cause}); {how}: {go_on}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReader:
    """Reads what the reasons are made of; `policy_of` raises NotFound for an account of no settings.

    `ask_each` returns the answers about accounts, of several without those that cannot be read.
    """

    queries: Queries
    limiter: Limiter
    policy_of: Callable[[str], FlushPolicy]
    ask_each: Callable[[Callable[[str], Reasons], Sequence[str]], Mapping[str, Reasons]]

    def view(self, account: str) -> AccountView:
        """Read an account, in two round trips."""
        state = self.queries.account_state(account)
        try:
            policy = self.policy_of(account)
        except NotFound:
            return AccountView(account, state, FULL_PACE, None)
        grant = self.limiter.peek(
            account, rate=policy.rate, burst=policy.burst, max_wait=MAX_SLOT_WAIT, now=state.now / SECOND
        )
        return AccountView(account, state, grant, policy)

    def of_account(self, account: str) -> Waiting | None:
        """Return why the account sends nothing now: it is stopped, or nothing of it is due."""
        view = self.view(account)
        if not (view.state.waiting or view.state.next_due):
            return why_account_waits(view)
        if stopped := why_account_waits(view):
            return stopped
        if view.state.waiting:
            return why_queue_waits(view)
        [(relation, record)] = self.queries.get_records(account, filter(None, [view.state.next_due])).items()
        return why_relation_waits(view, relation, record) or _turn(view)

    def of_jobs(self, jobs: Sequence[JobRecord]) -> Reasons:
        """Return why each of these jobs waits, without those that do not or whose account cannot be read."""
        by_account: dict[str, list[JobRecord]] = {}
        for job in jobs:
            if job.state in OPEN_STATES and job.state != "sending":
                by_account.setdefault(job.account, []).append(job)
        with suppress(StoreUnreadable):  # of an account that is alone
            found = self.ask_each(
                lambda account: self._of_account_jobs(account, by_account[account]), list(by_account)
            )
            return dict(chain.from_iterable(reasons.items() for reasons in found.values()))
        return {}

    def _of_account_jobs(self, account: str, jobs: Sequence[JobRecord]) -> Reasons:
        view, records = self.view(account), self._records(account, jobs)
        reasons = {job.id: why_job_waits(view, job, records) for job in jobs}
        return {job: reason for job, reason in reasons.items() if reason}

    def of_job(self, job: JobRecord) -> Waiting | None:
        """Return why the job waits."""
        return self.of_jobs([job]).get(job.id)

    def _records(self, account: str, jobs: Sequence[JobRecord]) -> Mapping[Relation, RelationRecord]:
        """Return what is open of the jobs that were taken; of very many, of the first ones."""
        named = dict.fromkeys(relation for job in jobs if job.state != "queued" for relation in job.relations)
        return self.queries.get_records(account, list(named)[:MAX_READ])
