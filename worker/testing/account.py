"""Everything the store in memory holds of one account, and how a transition writes into it."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

from worker.contract import Relation
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import NOTHING, RESULTS, ConfirmedState
from worker.planner.relation_state import Doubt, OpenRelation
from worker.ports import (
    OPEN_STATES,
    AuditEntry,
    BegunRequest,
    JobState,
    OpenWrite,
    Pause,
    RelationEvent,
    RelationRecord,
    Writes,
)
from worker.store.limits import HISTORY_SLACK, MAX_EXAMINED, MAX_HISTORY, REQUEST_IDS_LENGTH, Retention
from worker.testing.stored import (
    BatchCounts,
    CurrentBatch,
    LeaseHolder,
    RememberedEvent,
    StoredJob,
    StoredPayload,
    StoredRelation,
    StoredReplay,
    StoredRequest,
    WakeMark,
    replace,
    to_us,
)


@dataclass(slots=True)
class AccountState:
    """The inbox, the open relations, the jobs and the memories of one account."""

    retention: Retention
    inbox: deque[str] = field(default_factory=deque)
    jobs: dict[str, StoredJob] = field(default_factory=dict)
    events: dict[tuple[str, str], str] = field(default_factory=dict)
    remembered_events: dict[tuple[str, str], RememberedEvent] = field(default_factory=dict)
    index: dict[int, str] = field(default_factory=dict)  # job by acceptance number
    failed: dict[str, int] = field(default_factory=dict)  # acceptance number by job that waits for a decision
    opens: dict[Relation, OpenRelation] = field(default_factory=dict)
    due: dict[Relation, int] = field(default_factory=dict)
    guards: defaultdict[str, set[Relation]] = field(default_factory=lambda: defaultdict(set))
    relations: dict[Relation, StoredRelation] = field(default_factory=dict)
    journal: dict[str, BegunRequest] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    batches: defaultdict[str, BatchCounts] = field(default_factory=lambda: defaultdict(BatchCounts))
    requests: dict[str, StoredRequest] = field(default_factory=dict)
    audit_log: dict[str, AuditEntry] = field(default_factory=dict)
    payloads: dict[str, StoredPayload] = field(default_factory=dict)
    unreadable: dict[tuple[str, str], str] = field(
        default_factory=dict
    )  # job by event of unreadable messages
    replays: dict[str, StoredReplay] = field(default_factory=dict)
    lease: LeaseHolder | None = None
    batch: CurrentBatch | None = None
    wake: WakeMark | None = None
    pause: Pause | None = None
    # The fingerprint of credentials that were refused before others ended that pause, and until when it is
    # remembered.
    refused: tuple[str, int] = ("", 0)
    deletes: Counter[int] = field(default_factory=Counter)  # by minute
    braked: bool = False  # the pause in force replaced one of the brake
    brake_resumed_at: int = 0  # when a person last resumed what the brake had stopped

    # --- what has not expired

    def holder(self, now: int) -> str | None:
        """Return who holds the lease."""
        return self.lease.holder if self.lease and now < self.lease.until else None

    def pause_in_force(self, now: int) -> Pause | None:
        """Return the pause in force."""
        if self.pause and 0 < self.pause.until <= now:
            self.pause = None
        return self.pause

    def refused_credentials(self, now: int) -> str:
        """Return the fingerprint of credentials that were refused before others ended that pause."""
        return self.refused[0] if now < self.refused[1] else ""

    def next_due(self, now: int, window: int) -> int | None:
        """Return when work is due: begun requests now, the inbox a window after its first job came."""
        times = [*self.due.values(), *([now] if self.journal else [])]
        if self.inbox:
            head = self.job(self.inbox[0], now)
            times.append((head.record.accepted_at if head else 0) + window)
        return min(times, default=None)

    def job(self, job_id: str, now: int) -> StoredJob | None:
        """Return a job that has not expired."""
        job = self.jobs.get(job_id)
        if job is None or now < job.expires:
            return job
        del self.jobs[job_id]
        if self.events.get(job.key) == job_id:
            del self.events[job.key]
            expires = job.record.finished_at + to_us(self.retention.remembered)
            self.remembered_events[job.key] = RememberedEvent(job_id, job.fingerprint, expires)
        return None

    def failed_jobs(self, now: int) -> list[str]:
        """Return the failed jobs that wait for a decision, oldest first."""
        return [job for job in sorted(self.failed, key=self.failed.__getitem__) if self.job(job, now)]

    def count_open_jobs(self) -> dict[str, int]:
        """Return the number of jobs that have left the inbox and are not finished, by state."""
        states = (job.record.state for job in self.jobs.values())
        return Counter(state for state in states if state in OPEN_STATES[1:])

    def relation(self, relation: Relation, now: int) -> StoredRelation | None:
        """Return what is remembered of a relation and has not expired."""
        stored = self.relations.get(relation)
        if stored is None or now < stored.expires:
            return stored
        del self.relations[relation]
        return None

    def batch_counts(self, label: str, now: int) -> BatchCounts:
        """Return the counts of a label, new ones if they have expired."""
        if label in self.batches and now >= self.batches[label].expires:
            del self.batches[label]
        return self.batches[label]

    def record(self, relation: Relation, now: int) -> RelationRecord:
        """Return what there is of a relation."""
        stored = self.relation(relation, now) or StoredRelation()
        return RelationRecord(self.opens.get(relation), stored.confirmed or NOTHING, stored.doubt)

    def records(self, relations: Iterable[Relation], now: int) -> dict[Relation, RelationRecord]:
        """Return what there is of these relations, without those of which there is nothing."""
        known = (
            relation for relation in relations if relation in self.opens or self._is_known(relation, now)
        )
        return {relation: self.record(relation, now) for relation in known}

    def _is_known(self, relation: Relation, now: int) -> bool:
        stored = self.relation(relation, now)
        return stored is not None and stored.confirmed is not None

    def tidy(self, after: int, now: int) -> int:
        """Drop what has expired from the indexes; return the number to continue after."""
        self.pause_in_force(now)
        numbers = list(islice((number for number in self.index if number > after), MAX_EXAMINED))
        for number in numbers:
            if not self.job(self.index[number], now):
                self.failed.pop(self.index.pop(number), None)
        for request in list(takewhile(lambda id_: now >= self.requests[id_].expires, self.requests)):
            del self.requests[request]
        return numbers[-1] if len(numbers) == MAX_EXAMINED else 0

    # --- people's acts

    def set_pause(self, pause: Pause, now: int) -> bool:
        """Pause it, unless that would shorten a pause that a person has to end; return whether it did."""
        before = self.pause_in_force(now)
        if before and not before.until and (pause.until or pause.reason == "credentials"):
            return False
        self.braked = self.braked or bool(before and before.reason == "brake")
        self.pause = pause._replace(since=now)
        return True

    def write_audit_entry(self, entry: AuditEntry | None, count: int, now: int) -> None:
        """Add an entry to the audit log, once."""
        if entry and entry.name not in self.audit_log:
            self.audit_log[entry.name] = replace(entry, count=count, at=now)

    def cancel_job(self, job: StoredJob, by: str, now: int) -> None:
        """End a job that waits in the inbox."""
        self.inbox.remove(job.record.id)
        left = job.remaining or job.relations
        outcomes = [RelationOutcome(job.record.id, relation, "superseded", by) for relation in left]
        self.write(Writes(outcomes=outcomes), "", now)
        job.remaining = ()

    # --- writing

    def write(self, writes: Writes, request_id: str, now: int) -> None:
        """Write everything that one transition changes."""
        for relation, write in writes.opens.items():
            self._write_open(relation, write, now)
        outcomes = _group_by_relation(writes.outcomes)
        for relation in dict.fromkeys([*outcomes, *writes.confirmed]):
            confirmed = writes.confirmed.get(relation)
            self._write_relation(relation, confirmed, outcomes.get(relation, ()), request_id, now)
        for job_id, of_job in _group_by_job(writes.job_states, outcomes).items():
            job = self.job(job_id, now)
            if job and job.left:
                self._update_job(job, of_job, writes.job_states.get(job_id), request_id, now)
        self.counts.update(f"relations_{outcome.result}" for outcome in writes.outcomes)

    def _write_open(self, relation: Relation, write: OpenWrite, now: int) -> None:
        if write.open:
            self.opens[relation], self.due[relation] = write.open, write.open.not_before or write.open.since
        else:
            self.opens.pop(relation, None)
            self.due.pop(relation, None)
        if write.guard:
            if write.open or write.in_doubt_until > now:
                self.guards[write.guard].add(relation)
            else:
                self.guards[write.guard].discard(relation)

    def _write_relation(
        self,
        relation: Relation,
        confirmed: tuple[ConfirmedState, Doubt | None] | None,
        outcomes: Sequence[RelationOutcome],
        request_id: str,
        now: int,
    ) -> None:
        stored = self.relation(relation, now) or StoredRelation()
        if confirmed:
            stored.confirmed, stored.doubt = confirmed
        for outcome in outcomes:
            stored.events[outcome.job] = RelationEvent(outcome.job, outcome.result, _why(outcome, request_id))
        if len(stored.events) + (stored.confirmed is not None) > MAX_HISTORY + HISTORY_SLACK:
            stored.events = {job: stored.events[job] for job in sorted(stored.events)[-MAX_HISTORY:]}
        stored.expires = now + to_us(self.retention.memory)
        self.relations[relation] = stored

    def _update_job(
        self,
        job: StoredJob,
        outcomes: Sequence[RelationOutcome],
        state: JobState | None,
        request_id: str,
        now: int,
    ) -> None:
        """Count a job's outcomes, set its state, and finish it with the last outcome."""
        record, new = job.record, Counter[str](outcome.result for outcome in outcomes)
        job.left -= len(outcomes)
        requests = record.requests
        if request_id and request_id not in requests and (new["applied"] or new["failed"] or state):
            requests = _latest_that_fit((*requests, request_id))
        job.record = replace(
            record,
            state=state or record.state,
            counts={result: record.counts[result] + new[result] for result in RESULTS},
            attempts=record.attempts + (requests is not record.requests and state != "queued"),
            requests=requests,
            by=next((outcome.by for outcome in reversed(outcomes) if outcome.by), record.by),
            refusal=record.refusal or _first_refusal(outcomes),
            failed=record.failed + tuple(each.relation for each in outcomes if each.result == "failed"),
        )
        if job.left == 0:
            self._finish(job, now)

    def _finish(self, job: StoredJob, now: int) -> None:
        counts = job.record.counts
        state: JobState = "failed" if counts["failed"] else "succeeded" if counts["applied"] else "superseded"
        job.record = replace(job.record, state=state, finished_at=now)
        job.expires = now + to_us(self.retention.failed if state == "failed" else self.retention.finished)
        self.counts[state] += 1
        if state == "failed":
            self.failed[job.record.id] = job.number
        if job.record.batch:
            batch = self.batch_counts(job.record.batch, now)
            batch.counts[state] += 1
            ended = sum(batch.counts[name] for name in ("succeeded", "superseded", "failed"))
            if ended >= batch.counts["accepted"]:
                batch.expires = now + to_us(self.retention.failed)


def _group_by_relation(outcomes: Iterable[RelationOutcome]) -> dict[Relation, list[RelationOutcome]]:
    groups: dict[Relation, list[RelationOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.relation, []).append(outcome)
    return groups


def _group_by_job(
    states: Iterable[str], outcomes: Mapping[Relation, list[RelationOutcome]]
) -> dict[str, list[RelationOutcome]]:
    jobs: dict[str, list[RelationOutcome]] = {job: [] for job in states}
    for of_relation in outcomes.values():
        for outcome in of_relation:
            jobs.setdefault(outcome.job, []).append(outcome)
    return jobs


def _why(outcome: RelationOutcome, request_id: str) -> str:
    refusal = outcome.refusal
    return f"{refusal.code} {refusal.error}".strip() if refusal else outcome.by or request_id


def _first_refusal(outcomes: Iterable[RelationOutcome]) -> tuple[int, str, str, str] | None:
    for outcome in outcomes:
        if outcome.result == "failed" and outcome.refusal:
            return (*outcome.refusal, str(outcome.relation))
    return None


def _latest_that_fit(request_ids: tuple[str, ...]) -> tuple[str, ...]:
    while len(" ".join(request_ids)) > REQUEST_IDS_LENGTH:
        request_ids = request_ids[1:]
    return request_ids
