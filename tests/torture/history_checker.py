"""Checks of every call that reaches the store against records of its own: leases, accepted changes, outcomes.

The checks sit next to the store: what they see has happened, whether or not the caller ever learns of it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.torture.expected_state import AcceptedChange
from worker.contract import Relation
from worker.errors import LeaseLost
from worker.planner.apply_reply import RelationOutcome
from worker.ports import LEASE_LIFETIME, AcceptResult, Pause, Submission, Writes

LEASE_US = round(LEASE_LIFETIME * 1e6)
READS = ("records", "guarded_relations")  # methods of a lease that anyone may call


@dataclass(slots=True)
class HistoryChecker:
    """Who holds which account until when (µs), what was accepted, every outcome, and what was wrong."""

    now: Callable[[], int]
    expire_lease: Callable[[str], None]
    leases: dict[str, tuple[str, int]] = field(default_factory=dict)
    accepted: dict[str, list[AcceptedChange]] = field(default_factory=dict)
    outcomes: dict[tuple[str, Relation], RelationOutcome] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def record_accept(self, account: str, submissions: Sequence[Submission], result: AcceptResult) -> None:
        """Record the new changes, in the order of acceptance."""
        now, changes = self.now(), self.accepted.setdefault(account, [])
        for submission, receipt in zip(submissions, result.receipts, strict=not result.refused):
            if not receipt.duplicate:
                occurred = submission.change.occurred_at
                at = now if occurred is None else min(occurred, now)
                changes.append(AcceptedChange(at, len(changes), receipt.job, submission.change))

    def record_outcomes(self, writes: Writes) -> None:
        """Record the outcomes; there must be one per job and relation."""
        for outcome in writes.outcomes:
            key = outcome.job, outcome.relation
            if key in self.outcomes:
                first = self.outcomes[key].result
                self.wrong.append(f"{outcome.job} on {outcome.relation}: {first}, and then {outcome.result}")
            self.outcomes[key] = outcome

    def record_replay(self, jobs: Sequence[str]) -> None:
        """Forget the failed outcomes of these jobs."""
        for key, outcome in list(self.outcomes.items()):
            if key[0] in jobs and outcome.result == "failed":
                del self.outcomes[key]

    def failed(self, job: str, relation: Relation) -> bool:
        """Return whether the change failed, or was superseded by one that failed."""
        outcome = self.outcomes.get((job, relation))
        if outcome is None or outcome.result == "failed":
            return outcome is not None
        return outcome.result == "superseded" and self.failed(outcome.by, relation)

    def superseded_by_failure(self, job: str, relation: Relation) -> bool:
        """Return whether the change was superseded by one that failed."""
        outcome = self.outcomes.get((job, relation))
        return outcome is not None and outcome.result == "superseded" and self.failed(job, relation)

    def holder(self, account: str) -> str:
        """Return who holds the account, or "" if nobody does; an expired lease is removed."""
        holder, until = self.leases.get(account, ("", 0))
        if holder and self.now() >= until:
            self.expire_lease(account)
            return ""
        return holder

    def record_lease(self, account: str, holder: str) -> None:
        """Record that the account is leased from now on."""
        self.leases[account] = holder, self.now() + LEASE_US

    def require_holder(self, account: str, holder: str, method: str) -> None:
        """Record a violation unless `holder` holds the account."""
        if (actual := self.holder(account)) != holder:
            self.wrong.append(f"{method} of {account} by {holder} while {actual or 'nobody'} holds it")


class CheckedStore:
    """A store whose calls are checked; methods that are not here are passed on as they are."""

    def __init__(self, inner: Any, checker: HistoryChecker) -> None:
        self._inner, self._checker = inner, checker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def accept(
        self, account: str, submissions: Sequence[Submission], *, max_backlog: int, oldest: float
    ) -> AcceptResult:
        """Record new changes."""
        result: AcceptResult = self._inner.accept(
            account, submissions, max_backlog=max_backlog, oldest=oldest
        )
        self._checker.record_accept(account, submissions, result)
        return result

    def lease(self, account: str, holder: str) -> "CheckedLease | None":
        """Check that nobody else holds the account."""
        before = self._checker.holder(account)
        inner = self._inner.lease(account, holder)
        if inner is None:
            return None
        if before not in ("", holder):
            self._checker.wrong.append(f"{account} was leased to {holder} while {before} holds it")
        self._checker.record_lease(account, holder)
        return CheckedLease(inner, account, holder, self._checker)

    def requeue(self, account: str, jobs: Sequence[str], **options: Any) -> tuple[list[str], bool]:
        """Record which jobs are replayed."""
        result: tuple[list[str], bool] = self._inner.requeue(account, jobs, **options)
        self._checker.record_replay(result[0])
        return result

    def due_accounts(self, accounts: Sequence[str], **known: Any) -> list[str]:
        """Remove expired leases before the sweep looks."""
        for account in accounts:
            self._checker.holder(account)
        due: list[str] = self._inner.due_accounts(accounts, **known)
        return due


class CheckedLease:
    """A lease whose calls are checked."""

    def __init__(self, inner: Any, account: str, holder: str, checker: HistoryChecker) -> None:
        self._inner, self._account, self._holder, self._checker = inner, account, holder, checker

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return self._checked(name, value) if callable(value) else value

    def renew(self) -> None:
        """Record the new time of expiry."""
        self._checked("renew", self._inner.renew)()
        self._checker.record_lease(self._account, self._holder)

    def release(self, **waits: float) -> float | None:
        """Record the end of the lease; a repeated call finds it released already."""
        was_holder = self._checker.holder(self._account) == self._holder
        try:
            next_flush: float | None = self._checked("release", self._inner.release)(**waits)
            return next_flush
        finally:
            if was_holder:
                del self._checker.leases[self._account]

    def set_pause(self, pause: Pause) -> None:
        """Pass it on unchecked: a holder that lost the lease may pause too, its credentials are as bad."""
        self._inner.set_pause(pause)

    def _checked(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            holder = self._checker.holder(self._account)
            try:
                result = call(*args, **kwargs)
            except LeaseLost:
                if holder == self._holder and name != "release":
                    self._checker.wrong.append(
                        f"{name} of {self._account} was refused to its holder {holder}"
                    )
                raise
            if name not in READS:
                self._checker.require_holder(self._account, self._holder, name)
            for argument in args:
                if isinstance(argument, Writes):
                    self._checker.record_outcomes(argument)
            return result

        return checked


def check_jobs(checker: HistoryChecker, store: Any) -> list[str]:
    """Return what is wrong with the jobs at the end.

    Each must have exactly one outcome per relation, the one that was recorded.
    """
    wrong: list[str] = []
    for account, accepted in checker.accepted.items():
        for entry in accepted:
            wrong += _check_job(checker, store, account, entry)
        wrong += _check_counts(store.counts(account), [store.get_job(entry.job) for entry in accepted])
    return wrong


def _check_job(checker: HistoryChecker, store: Any, account: str, entry: AcceptedChange) -> list[str]:
    job = store.get_job(entry.job)
    if job is None:
        return [f"{entry.job} is lost"]
    if job.state not in ("succeeded", "superseded", "failed") or sum(job.counts.values()) != job.total:
        return [f"{entry.job} ended {job.state} with {job.counts} of {job.total}"]
    wrong = []
    for relation in entry.change.relations:
        history = store.relation_history(account, relation)[1]
        stored = [event.result for event in history if event.job == entry.job]
        recorded = checker.outcomes.get((entry.job, relation))
        if stored != [recorded and recorded.result]:
            wrong.append(f"{entry.job} on {relation}: stored {stored}, recorded {recorded}")
    return wrong


def _check_counts(counts: Mapping[str, int], jobs: Sequence[Any]) -> list[str]:
    known = [job for job in jobs if job]
    expected = Counter(job.state for job in known) + Counter({"accepted": len(known)})
    for job in known:
        expected.update({f"relations_{result}": count for result, count in job.counts.items()})
    return [
        f"counted {name}: {counts.get(name, 0)}, there are {count}"
        for name, count in expected.items()
        if counts.get(name, 0) != count
    ]
