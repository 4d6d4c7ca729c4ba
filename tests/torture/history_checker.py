"""Sees every call that reaches the store, keeps its own small books, and says where the store's do not agree with them.

Stands next to the store: what it sees has happened, whether or not the caller ever learns of it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.torture.expected_state import AcceptedChange
from worker.contract import Relation
from worker.errors import LeaseLost
from worker.planner.apply_reply import RelationOutcome
from worker.ports import AcceptResult as Answer
from worker.ports import Pause, Submission, Writes
from worker.store.limits import LEASE_LIFETIME

LEASE_US = round(LEASE_LIFETIME * 1e6)


@dataclass(slots=True)
class Witness:
    """Who holds which account until when (µs), what was accepted, and every outcome that fell."""

    now: Callable[[], int]
    forget: Callable[[str], None]
    held: dict[str, tuple[str, int]] = field(default_factory=dict)
    accepted: dict[str, list[AcceptedChange]] = field(default_factory=dict)
    outcomes: dict[tuple[str, Relation], RelationOutcome] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def saw_accept(self, account: str, submissions: Sequence[Submission], answer: Answer) -> None:
        """New changes, in the order in which they came in."""
        now, mine = self.now(), self.accepted.setdefault(account, [])
        for entry, receipt in zip(submissions, answer.receipts, strict=not answer.refused):
            if not receipt.duplicate:
                at = entry.change.occurred_at
                mine.append(
                    AcceptedChange(now if at is None else min(at, now), len(mine), receipt.job, entry.change)
                )

    def saw_outcomes(self, writes: Writes) -> None:
        """Outcomes; there is one per job and relation, and it stays."""
        for entry in writes.outcomes:
            key = entry.job, entry.relation
            if key in self.outcomes:
                self.wrong.append(
                    f"{entry.job} on {entry.relation}: {self.outcomes[key].result}, and then {entry.result}"
                )
            self.outcomes[key] = entry

    def saw_replay(self, jobs: Sequence[str]) -> None:
        """Failed outcomes of these jobs are void."""
        gone = [key for key, entry in self.outcomes.items() if key[0] in jobs and entry.result == "failed"]
        for key in gone:
            del self.outcomes[key]

    def failed(self, job: str, relation: Relation) -> bool:
        """Whether a wish failed, or was not sent because of a newer one that failed."""
        entry = self.outcomes.get((job, relation))
        if entry is None or entry.result == "failed":
            return entry is not None
        return entry.result == "superseded" and self.failed(entry.by, relation)

    def overtaken_in_vain(self, job: str, relation: Relation) -> bool:
        """Whether a wish was superseded by one that failed."""
        entry = self.outcomes.get((job, relation))
        return entry is not None and entry.result == "superseded" and self.failed(job, relation)

    def holder(self, account: str) -> str:
        """Who holds the account; one whose time is up is forgotten."""
        holder, until = self.held.get(account, ("", 0))
        if holder and self.now() >= until:
            self.forget(account)
            return ""
        return holder

    def demand(self, account: str, holder: str, what: str) -> None:
        """Only the holder of the lease may have done this."""
        if (found := self.holder(account)) != holder:
            self.wrong.append(f"{what} of {account} by {holder} while {found or 'nobody'} holds it")


class WitnessedStore:
    """A store whose calls the witness sees; what is not named here changes nothing that it writes down."""

    def __init__(self, inner: Any, witness: Witness) -> None:
        self._inner, self._witness = inner, witness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def accept(
        self, account: str, submissions: Sequence[Submission], *, max_backlog: int, oldest: float
    ) -> Answer:
        """See new changes."""
        answer: Answer = self._inner.accept(account, submissions, max_backlog=max_backlog, oldest=oldest)
        self._witness.saw_accept(account, submissions, answer)
        return answer

    def lease(self, account: str, holder: str) -> "WitnessedLease | None":
        """See who holds the account."""
        before = self._witness.holder(account)
        inner = self._inner.lease(account, holder)
        if inner is None:
            return None
        if before not in ("", holder):
            self._witness.wrong.append(f"{account} was leased to {holder} while {before} holds it")
        self._witness.held[account] = holder, self._witness.now() + LEASE_US
        return WitnessedLease(inner, account, holder, self._witness)

    def requeue(self, account: str, jobs: Sequence[str], **which: Any) -> tuple[list[str], bool]:
        """See which jobs begin again."""
        answer: tuple[list[str], bool] = self._inner.requeue(account, jobs, **which)
        self._witness.saw_replay(answer[0])
        return answer

    def due_accounts(self, accounts: Sequence[str], **known: Any) -> list[str]:
        """Expired leases are gone when the sweep looks."""
        for account in accounts:
            self._witness.holder(account)
        due: list[str] = self._inner.due_accounts(accounts, **known)
        return due


class WitnessedLease:
    """A lease whose calls the witness sees."""

    def __init__(self, inner: Any, account: str, holder: str, witness: Witness) -> None:
        self._inner, self._account, self._holder, self._witness = inner, account, holder, witness

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return self._watched(name, value) if callable(value) else value

    def renew(self) -> None:
        """See that it lives on."""
        self._watched("renew", self._inner.renew)()
        self._witness.held[self._account] = self._holder, self._witness.now() + LEASE_US

    def release(self, **waits: float) -> float | None:
        """See it given back; a repeated call may have been the second to do so."""
        mine = self._witness.holder(self._account) == self._holder
        try:
            again: float | None = self._watched("release", self._inner.release)(**waits)
            return again
        finally:
            if mine:
                del self._witness.held[self._account]

    def set_pause(self, pause: Pause) -> None:
        """A holder that lost the lease may still stop the account: its credentials are as bad."""
        self._inner.set_pause(pause)

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            mine = self._witness.holder(self._account)
            try:
                result = call(*args, **kwargs)
            except LeaseLost:
                if mine == self._holder and name != "release":
                    self._witness.wrong.append(f"{name} of {self._account} was refused to its holder {mine}")
                raise
            if name not in ("records", "swap_partners"):
                self._witness.demand(self._account, self._holder, name)
            for writes in args:
                if isinstance(writes, Writes):
                    self._witness.saw_outcomes(writes)
            return result

        return watched


def check_jobs(witness: Witness, store: Any) -> list[str]:
    """What is wrong with the jobs in the end: each must have exactly one outcome per relation, the one that was seen to fall."""
    wrong: list[str] = []
    for account, accepted in witness.accepted.items():
        for entry in accepted:
            wrong += _check_job(witness, store, account, entry)
        wrong += _check_counts(store.counts(account), [store.get_job(entry.job) for entry in accepted])
    return wrong


def _check_job(witness: Witness, store: Any, account: str, entry: AcceptedChange) -> list[str]:
    job = store.get_job(entry.job)
    if job is None:
        return [f"{entry.job} is lost"]
    if job.state not in ("succeeded", "superseded", "failed") or sum(job.counts.values()) != job.total:
        return [f"{entry.job} ended {job.state} with {job.counts} of {job.total}"]
    wrong = []
    for relation in entry.change.relations:
        said = [
            mention.result
            for mention in store.relation_history(account, relation)[1]
            if mention.job == entry.job
        ]
        seen = witness.outcomes.get((entry.job, relation))
        if said != [seen and seen.result]:
            wrong.append(f"{entry.job} on {relation}: kept {said}, seen {seen}")
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
