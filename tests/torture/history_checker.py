"""What happened in a scenario: leases, accepted changes, outcomes, people's acts.

`checked_ports` reports every call from beside the store: what is recorded has happened, whether or not the
caller ever learns of it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.torture.changes import UNIT
from tests.torture.expected_state import AcceptedChange, is_cleared
from worker.contract import Relation, account_of
from worker.planner.actions import Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import RESULTS
from worker.planner.relation_state import RelationRecord
from worker.ports.erasure import ERASED, RecordRef
from worker.ports.job_admin import CANCELLED
from worker.ports.metrics import Metrics
from worker.ports.store import AcceptResult, Submission
from worker.ports.work import LEASE_LIFETIME

LEASE_US = round(LEASE_LIFETIME * 1e6)
BY_PEOPLE = (CANCELLED, ERASED)
# Errors of failures after which the change may have been applied all the same.
NO_DEFINITE_ANSWER = ("poison", "unknown")

Pair = tuple[str, Relation]
"""A job and one of its relations."""


@dataclass(slots=True)
class HistoryChecker:
    """Who holds which account until when (µs), what was accepted, every outcome, and what was wrong.

    `written` counts outcomes by account and result, also those of failures that were replayed since.

    An erasure takes the memory of a relation, so what is accepted later counts whatever its time: `eras` says
    how often that happened to a relation, `era` in which of them a pair had its outcome. `unanswered` are
    pairs that failed without a definite answer.

    `removals` are by job the relations that a replace has to remove: what a read showed beside those that it
    names. `unread` are replaces that a person ended while they waited for that read.
    """

    now: Callable[[], int]
    expire_lease: Callable[[str], None]
    keep_lease: Callable[[str], None] = lambda _: None
    leases: dict[str, tuple[str, int]] = field(default_factory=dict)
    accepted: dict[str, list[AcceptedChange]] = field(default_factory=dict)
    outcomes: dict[Pair, RelationOutcome] = field(default_factory=dict)
    written: Counter[tuple[str, str]] = field(default_factory=Counter)
    unanswered: set[Pair] = field(default_factory=set)
    removals: dict[str, tuple[Relation, ...]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    erased: set[tuple[str, RecordRef]] = field(default_factory=set)
    eras: Counter[tuple[str, Relation]] = field(default_factory=Counter)
    era: dict[Pair, int] = field(default_factory=dict)
    acts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    # --- changes and outcomes

    def record_accept(self, account: str, submissions: Sequence[Submission], result: AcceptResult) -> None:
        """Record the new changes, in the order of acceptance."""
        now, changes = self.now(), self.accepted.setdefault(account, [])
        for submission, receipt in zip(submissions, result.receipts, strict=not result.refused):
            if not receipt.duplicate:
                occurred = submission.change.occurred_at
                at = now if occurred is None else min(occurred, now)
                changes.append(AcceptedChange(at, len(changes), receipt.job, submission.change))

    def record_outcomes(self, outcomes: Iterable[RelationOutcome], *, in_doubt: Collection[Relation]) -> None:
        """Record the outcomes; there must be one per job and relation.

        A write of the relations in doubt may still land, though another was refused.
        """
        for outcome in outcomes:
            key = outcome.job, outcome.relation
            if key in self.outcomes:
                first = self.outcomes[key].result
                self.wrong.append(f"{outcome.job} on {outcome.relation}: {first}, and then {outcome.result}")
            self._record(outcome)
            if outcome.result == "failed":
                refusal = outcome.refusal
                if (refusal and refusal.error in NO_DEFINITE_ANSWER) or outcome.relation in in_doubt:
                    self.unanswered.add(key)
            elif outcome.by not in BY_PEOPLE:
                self.unanswered.discard(key)

    def record_replay(self, job: str, relations: Collection[Relation]) -> None:
        """Forget the failed outcomes of a job that waits in the inbox again with these relations.

        Its other failures were about a record that was erased.
        """
        for key, outcome in list(self.outcomes.items()):
            if key[0] == job and outcome.result == "failed":
                del self.outcomes[key]
                if key[1] not in relations:
                    self._record(RelationOutcome(*key, "superseded", ERASED))

    def _record(self, outcome: RelationOutcome) -> None:
        self.outcomes[outcome.job, outcome.relation] = outcome
        self.written[account_of(outcome.job), outcome.result] += 1

    # --- replaces

    def relations_of(self, entry: AcceptedChange) -> tuple[Relation, ...]:
        """Return the relations that a change has outcomes for: those it names, and those it removes."""
        return (*entry.change.relations, *self.removals.get(entry.job, ()))

    def awaits_read(self, entry: AcceptedChange) -> bool:
        """Return whether it is next to read what is there beside what a replace names.

        All that it names is there by then; of the building of a unit, nothing has been tried.
        """
        if not entry.change.replaces or entry.job in self.removals or entry.job in self.unread:
            return False
        named = [self.outcomes.get((entry.job, relation)) for relation in entry.change.relations]
        if entry.change.type == UNIT and entry.change.replaces == "parent":
            return not any(named)
        return all(each and each.result != "failed" and each.by not in BY_PEOPLE for each in named)

    def record_read(self, entry: AcceptedChange, removals: Iterable[Relation]) -> None:
        """Record what a replace has to remove; it may know that only when all that it names is there."""
        if not self.awaits_read(entry):
            self.wrong.append(f"{entry.job} is to remove relations before it may")
        self.removals[entry.job] = tuple(removals)

    def cleared(
        self, account: str, relations: Iterable[Relation]
    ) -> Iterator[tuple[AcceptedChange, Relation]]:
        """Yield the relations that a replace wants absent, and which were not there when it read."""
        for entry in self.accepted.get(account, ()):
            if entry.job in self.removals:
                for relation in relations:
                    if is_cleared(entry.change, relation) and relation not in self.removals[entry.job]:
                        yield self.ordered(account, entry, relation), relation

    # --- people's acts

    def cancel(self, entry: AcceptedChange) -> None:
        """Record that a person ended what was left of a job in the inbox; a read to come counts as one."""
        if self.awaits_read(entry):
            self.unread.add(entry.job)
            self.written[account_of(entry.job), "superseded"] += 1
        self.end_by_hand(entry.job, self.relations_of(entry), CANCELLED)

    def end_by_hand(self, job: str, relations: Iterable[Relation], by: str) -> None:
        """Record that a person ended these relations of a job in the inbox."""
        for relation in relations:
            if (job, relation) not in self.outcomes:
                self._record(RelationOutcome(job, relation, "superseded", by))

    def forget(self, account: str, relation: Relation) -> None:
        """Record that a relation's memory was erased."""
        for entry in self.accepted.get(account, ()):
            if (entry.job, relation) in self.outcomes:
                self.era.setdefault((entry.job, relation), self.eras[account, relation])
        self.eras[account, relation] += 1

    def was_forgotten(self, account: str, job: str, relation: Relation) -> bool:
        """Return whether the relation's memory was erased after the job had its outcome there."""
        return self.era.get((job, relation), self.eras[account, relation]) < self.eras[account, relation]

    def ordered(self, account: str, entry: AcceptedChange, relation: Relation) -> AcceptedChange:
        """Return the change as it counts for the relation, with the era in which it had its outcome."""
        return entry._replace(era=self.era.get((entry.job, relation), self.eras[account, relation]))

    def record_begin(self, account: str, request: Request, *, paused: bool, upsert: bool) -> None:
        """Check that no request leaves while its account is paused, and no write that nobody asks for."""
        if paused:
            self.wrong.append(f"a request of {account} was begun while it is paused")
        wants = {"create": ("create",), "delete": ("delete",), "modify": ("create", "modify")}
        if upsert:
            wants["create"] = ("create", "modify")
        open_changes = {
            ("delete" if relation not in entry.change.relations else entry.change.asks, relation)
            for entry in self.accepted.get(account, ())
            for relation in self.relations_of(entry)
            if (entry.job, relation) not in self.outcomes
        }
        for action in request.actions:
            for relation in action.relations if action.kind != "get" else ():
                if not any((wanted, relation) in open_changes for wanted in wants[action.kind]):
                    self.wrong.append(f"{action.kind} of {relation} was begun, which no open change asks for")

    # --- what outcomes mean for the CRM

    def is_void(self, job: str, relation: Relation) -> bool:
        """Return whether the change came to nothing: failed, ended by a person, or superseded by such one."""
        outcome = self.outcomes.get((job, relation))
        if outcome is None or outcome.result in ("applied", "stale"):
            return False
        return outcome.result == "failed" or outcome.by in BY_PEOPLE or self.is_void(outcome.by, relation)

    def is_uncertain(self, job: str, relation: Relation) -> bool:
        """Return whether the change may have reached the CRM all the same.

        It failed without an answer, or one that came to nothing superseded it: it may have been sent before.
        """
        outcome = self.outcomes.get((job, relation))
        is_superseded = outcome is not None and outcome.result == "superseded"
        return (job, relation) in self.unanswered or (
            is_superseded and outcome.by not in BY_PEOPLE and self.is_void(outcome.by, relation)
        )

    def is_confirmed(self, account: str, relation: Relation) -> bool | None:
        """Return whether the relation is confirmed to be there, or gone, by what was applied; None: neither.

        A replace that has read confirms that what it did not find is gone.
        """
        told = [
            (entry.at, entry.number, relation in entry.change.relations and entry.change.asks != "delete")
            for entry in self.accepted.get(account, ())
            if (outcome := self.outcomes.get((entry.job, relation))) and outcome.result == "applied"
        ]
        told += [(entry.at, entry.number, False) for entry, _ in self.cleared(account, [relation])]
        return max(told)[2] if told else None

    # --- leases

    def holder(self, account: str) -> str:
        """Return who holds the account, or "" if nobody does; an expired lease is removed."""
        holder, until = self.leases.get(account, ("", 0))
        if holder and self.now() >= until:
            self.expire_lease(account)
            return ""
        return holder

    def record_lease(self, account: str, holder: str) -> None:
        """Record that the account is leased from now on."""
        self.keep_lease(account)
        self.leases[account] = holder, self.now() + LEASE_US

    def require_holder(self, account: str, holder: str, method: str) -> None:
        """Record a violation unless `holder` holds the account."""
        if (actual := self.holder(account)) != holder:
            self.wrong.append(f"{method} of {account} by {holder} while {actual or 'nobody'} holds it")


def check_jobs(checker: HistoryChecker, store: Any, metrics: Metrics) -> list[str]:
    """Return what is wrong with the jobs at the end.

    Each must have exactly one outcome per relation, the one that was recorded, and all counters must equal
    what the jobs say.
    """
    wrong: list[str] = []
    for account, accepted in checker.accepted.items():
        for entry in accepted:
            wrong += _check_job(checker, store, account, entry)
        jobs = [job for entry in accepted if (job := store.get_job(entry.job))]
        wrong += _differences(store.counts(account), _count_jobs(jobs), account)
        tally = metrics.account_stats([account])[account].tally
        written = {f"outcomes:{result}": checker.written[account, result] for result in RESULTS}
        wrong += _differences(tally, written, f"{account} ever")
        failures = sum(count for name, count in tally.items() if name.startswith("failures:"))
        wrong += _differences({"failures": failures}, {"failures": written["outcomes:failed"]}, account)
        for label in {entry.change.batch for entry in accepted if entry.change.batch}:
            in_batch = _count_states([job for job in jobs if job.batch == label])
            wrong += _differences(store.batch_counts(account, label), in_batch, f"batch {label}")
    return wrong


def _check_job(checker: HistoryChecker, store: Any, account: str, entry: AcceptedChange) -> list[str]:
    job = store.get_job(entry.job)
    if job is None:
        return [f"{entry.job} is lost"]
    if job.state not in ("succeeded", "superseded", "failed") or sum(job.counts.values()) != job.total:
        return [f"{entry.job} ended {job.state} with {job.counts} of {job.total}"]
    wrong = list[str]()
    if entry.change.replaces and job.total != len(checker.relations_of(entry)) + (
        entry.job in checker.unread
    ):
        wrong.append(f"{entry.job} counts {job.total} relations, it has {checker.relations_of(entry)}")
    if checker.awaits_read(entry):
        wrong.append(f"{entry.job} ended without a read of what it has to remove")
    for relation in checker.relations_of(entry):
        record, history = store.relation_history(account, relation)
        stored = [event.result for event in history if event.job == entry.job]
        outcome = checker.outcomes.get((entry.job, relation))
        is_resolved = relation.parent in job.parents and relation.child in job.children
        is_forgotten = checker.was_forgotten(account, entry.job, relation) or not is_resolved
        expected = [] if is_forgotten else [outcome and outcome.result]
        if stored != expected:
            wrong.append(f"{entry.job} on {relation}: stored {stored}, recorded {expected}")
        if any(who.is_part_of(relation) for name, who in checker.erased if name == account) and (
            history or record != RelationRecord()
        ):
            wrong.append(f"{relation} is remembered though it was erased")
    return wrong


def _count_jobs(jobs: Sequence[Any]) -> Counter[str]:
    expected = _count_states(jobs)
    expected.update({f"relations_{result}": 0 for result in RESULTS})
    for job in jobs:
        expected.update({f"relations_{result}": count for result, count in job.counts.items()})
    return expected


def _count_states(jobs: Sequence[Any]) -> Counter[str]:
    states = Counter({"accepted": len(jobs), "succeeded": 0, "superseded": 0, "failed": 0})
    states.update(job.state for job in jobs)
    return states


def _differences(counts: Mapping[str, int], expected: Mapping[str, int], what: str) -> list[str]:
    return [
        f"{what} counted {name}: {counts.get(name, 0)}, there are {expected.get(name, 0)}"
        for name in sorted(expected)
        if counts.get(name, 0) != expected.get(name, 0)
    ]
