"""Everything the store in memory holds of one account, and how one transition writes into it. Knows no Lua and no Redis."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Final

from worker.contract import Relation
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import NOTHING, ConfirmedState
from worker.planner.relation_state import Doubt, OpenRelation
from worker.ports import (
    AuditEntry,
    BegunRequest,
    JobState,
    OpenWrite,
    Pause,
    RelationEvent,
    RelationRecord,
    SwapSide,
    Writes,
)
from worker.store.limits import EXAMINED, Retention
from worker.testing.stored import (
    Batch,
    Hand,
    Holding,
    Job,
    Kept,
    Remembered,
    Replaying,
    Sent,
    StoredRelation,
    Wake,
    replace,
)

HISTORY: Final = 40  # jobs remembered per relation
SLACK: Final = 8  # entries more than that before the oldest go
WAY: Final = 120  # characters of request ids remembered per job
RESULTS: Final = ("applied", "superseded", "stale", "failed")


@dataclass(slots=True)
class AccountState:
    """The inbox, the open relations, the jobs and the memories of one account."""

    keep: Retention
    inbox: deque[str] = field(default_factory=deque)
    jobs: dict[str, Job] = field(default_factory=dict)
    events: dict[tuple[str, str], str] = field(default_factory=dict)
    remembered: dict[tuple[str, str], Remembered] = field(default_factory=dict)
    index: dict[int, str] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    opens: dict[Relation, OpenRelation] = field(default_factory=dict)
    due: dict[Relation, int] = field(default_factory=dict)
    guards: defaultdict[str, dict[Relation, SwapSide]] = field(default_factory=lambda: defaultdict(dict))
    arriving: Counter[str] = field(default_factory=Counter)
    memories: dict[Relation, StoredRelation] = field(default_factory=dict)
    journal: dict[str, BegunRequest] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    batches: defaultdict[str, Batch] = field(default_factory=lambda: defaultdict(Batch))
    requests: dict[str, Sent] = field(default_factory=dict)
    deletes: Counter[int] = field(default_factory=Counter)  # by minute
    refused: tuple[str, int] = (
        "",
        0,
    )  # the fingerprint of credentials that were, while others work, and until when
    braked: bool = False  # whether the brake held it when it was stopped once more
    looked: int = 0  # when a person let it go on that the brake had stopped (µs)
    deeds: dict[str, AuditEntry] = field(default_factory=dict)
    payloads: dict[str, Kept] = field(default_factory=dict)
    rejected: dict[tuple[str, str], str] = field(default_factory=dict)
    replays: dict[str, Replaying] = field(default_factory=dict)
    held: Holding | None = None
    hand: Hand | None = None
    wake: Wake | None = None
    pause: Pause | None = None

    # --- what is still there

    def holder(self, now: int) -> str | None:
        """Who holds the lease."""
        return self.held.holder if self.held and now < self.held.until else None

    def paused(self, now: int) -> Pause | None:
        """The pause in force."""
        if self.pause and 0 < self.pause.until <= now:
            self.pause = None
        return self.pause

    def refused_now(self, now: int) -> str:
        """The fingerprint of credentials that were refused before others healed it."""
        return self.refused[0] if now < self.refused[1] else ""

    def stop(self, pause: Pause, now: int) -> bool:
        """Pause it; a pause that a person has to end is not shortened by one that ends by itself."""
        held = self.paused(now)
        if held and not held.until and (pause.until or pause.reason == "credentials"):
            return False
        self.braked = self.braked or bool(held and held.reason == "brake")
        self.pause = pause._replace(since=now)
        return True

    def next_due(self, now: int, window: int) -> int | None:
        """When there is work: at once for what a dead worker left, for the inbox when its head has waited for company."""
        moments = [*self.due.values(), *([now] if self.journal else [])]
        if self.inbox:
            head = self.job(self.inbox[0], now)
            moments.append((head.record.accepted_at if head else 0) + window)
        return min(moments, default=None)

    def job(self, job_id: str, now: int) -> Job | None:
        """A job that is not forgotten."""
        job = self.jobs.get(job_id)
        if job is None or now < job.ends:
            return job
        del self.jobs[job_id]
        if self.events.get(job.key) == job_id:
            del self.events[job.key]
            self.remembered[job.key] = Remembered(
                job_id, job.fingerprint, job.record.finished_at + _us(self.keep.remembered)
            )
        return None

    def waiting(self, now: int) -> list[str]:
        """The failed jobs that wait for a decision, oldest first."""
        return [
            job_id for job_id in sorted(self.failed, key=self.failed.__getitem__) if self.job(job_id, now)
        ]

    def open_jobs(self) -> dict[str, int]:
        """The jobs that have left the inbox, by state."""
        return Counter(
            job.record.state
            for job in self.jobs.values()
            if job.record.state in ("sending", "retrying", "verifying")
        )

    def memory(self, relation: Relation, now: int) -> StoredRelation | None:
        """A memory that is not forgotten."""
        memory = self.memories.get(relation)
        if memory is None or now < memory.ends:
            return memory
        del self.memories[relation]
        return None

    def batch(self, label: str, now: int) -> Batch:
        """The counts of a label, from nothing if they are forgotten."""
        if label in self.batches and now >= self.batches[label].ends:
            del self.batches[label]
        return self.batches[label]

    def record(self, relation: Relation, now: int) -> RelationRecord:
        """What there is of a relation."""
        memory = self.memory(relation, now)
        return RelationRecord(
            self.opens.get(relation), (memory and memory.known) or NOTHING, memory.doubt if memory else None
        )

    def records(self, relations: Iterable[Relation], now: int) -> dict[Relation, RelationRecord]:
        """The same of several, without those of which there is nothing."""
        return {
            each: self.record(each, now)
            for each in relations
            if each in self.opens or self._is_known(each, now)
        }

    def _is_known(self, relation: Relation, now: int) -> bool:
        memory = self.memory(relation, now)
        return memory is not None and memory.known is not None

    def tidy(self, after: int, now: int) -> int:
        """Let the indexes forget what is forgotten; the number to go on after."""
        self.paused(now)
        numbers = list(islice((number for number in self.index if number > after), EXAMINED))
        for number in numbers:
            if not self.job(self.index[number], now):
                self.failed.pop(self.index.pop(number), None)
        for request in list(takewhile(lambda name: now >= self.requests[name].ends, self.requests)):
            del self.requests[request]
        return numbers[-1] if len(numbers) == EXAMINED else 0

    # --- what people do

    def tell(self, deed: AuditEntry | None, count: int, now: int) -> None:
        """Remember a deed, once."""
        if deed and deed.name not in self.deeds:
            self.deeds[deed.name] = replace(deed, count=count, at=now)

    def withdraw(self, job: Job, by: str, now: int) -> None:
        """A job that waits in the inbox ends there."""
        self.inbox.remove(job.record.id)
        self.arriving -= Counter(job.firsts)
        asked = job.again or job.relations
        self.write(
            Writes(
                outcomes=[RelationOutcome(job.record.id, relation, "superseded", by) for relation in asked]
            ),
            "",
            now,
        )
        job.again = ()

    # --- writing

    def write(self, writes: Writes, request_id: str, now: int) -> None:
        """Everything one transition changes."""
        for relation, entry in writes.opens.items():
            self._open(relation, entry)
        fallen = _grouped(writes.outcomes)
        for relation in dict.fromkeys([*fallen, *writes.confirmed]):
            self._remember(
                relation, writes.confirmed.get(relation), fallen.get(relation, ()), request_id, now
            )
        for job_id, entries in _by_job(writes.job_states, fallen).items():
            job = self.job(job_id, now)
            if job and job.left:
                self._move(job, entries, writes.job_states.get(job_id), request_id, now)
        self.counts.update(f"relations_{entry.result}" for entry in writes.outcomes)

    def _open(self, relation: Relation, entry: OpenWrite) -> None:
        if entry.open:
            self.opens[relation], self.due[relation] = entry.open, entry.open.not_before or entry.open.since
        else:
            self.opens.pop(relation, None)
            self.due.pop(relation, None)
        if entry.guard:
            self.guards[entry.guard].pop(relation, None)
            if entry.side:
                self.guards[entry.guard][relation] = entry.side

    def _remember(
        self,
        relation: Relation,
        known: tuple[ConfirmedState, Doubt | None] | None,
        fallen: Sequence[RelationOutcome],
        request_id: str,
        now: int,
    ) -> None:
        memory = self.memory(relation, now) or StoredRelation()
        if known:
            memory.known, memory.doubt = known
        memory.mentions |= {
            entry.job: RelationEvent(entry.job, entry.result, _why(entry, request_id)) for entry in fallen
        }
        if len(memory.mentions) + (memory.known is not None) > HISTORY + SLACK:
            memory.mentions = {job: memory.mentions[job] for job in sorted(memory.mentions)[-HISTORY:]}
        memory.ends = now + _us(self.keep.memory)
        self.memories[relation] = memory

    def _move(
        self, job: Job, fallen: Sequence[RelationOutcome], state: JobState | None, request_id: str, now: int
    ) -> None:
        """Take a job on: its outcomes counted, its state, and its end with the last outcome."""
        record, new = job.record, Counter(entry.result for entry in fallen)
        job.left -= len(fallen)
        requests = record.requests
        if request_id and request_id not in requests and (new["applied"] or new["failed"] or state):
            requests = _shortened((*requests, request_id))
        job.record = replace(
            record,
            state=state or record.state,
            counts={name: record.counts[name] + new[name] for name in RESULTS},
            attempts=record.attempts + (requests is not record.requests and state != "queued"),
            requests=requests,
            by=next((entry.by for entry in reversed(fallen) if entry.by), record.by),
            refusal=record.refusal or _first_refusal(fallen),
            failed=record.failed + tuple(entry.relation for entry in fallen if entry.result == "failed"),
        )
        if job.left == 0:
            self._finish(job, now)

    def _finish(self, job: Job, now: int) -> None:
        counts = job.record.counts
        state: JobState = "failed" if counts["failed"] else "succeeded" if counts["applied"] else "superseded"
        job.record = replace(job.record, state=state, finished_at=now)
        job.ends = now + _us(self.keep.failed if state == "failed" else self.keep.finished)
        self.counts[state] += 1
        if state == "failed":
            self.failed[job.record.id] = job.number
        if job.record.batch:
            self._count_out(self.batch(job.record.batch, now), state, now)

    def _count_out(self, batch: Batch, state: str, now: int) -> None:
        batch.counts[state] += 1
        if (
            batch.counts["succeeded"] + batch.counts["superseded"] + batch.counts["failed"]
            >= batch.counts["accepted"]
        ):
            batch.ends = now + _us(self.keep.failed)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _grouped(settled: Iterable[RelationOutcome]) -> dict[Relation, list[RelationOutcome]]:
    fallen: dict[Relation, list[RelationOutcome]] = {}
    for entry in settled:
        fallen.setdefault(entry.relation, []).append(entry)
    return fallen


def _by_job(
    states: Iterable[str], fallen: Mapping[Relation, list[RelationOutcome]]
) -> dict[str, list[RelationOutcome]]:
    jobs: dict[str, list[RelationOutcome]] = {job: [] for job in states}
    for entries in fallen.values():
        for entry in entries:
            jobs.setdefault(entry.job, []).append(entry)
    return jobs


def _why(entry: RelationOutcome, request_id: str) -> str:
    return f"{entry.refusal.code} {entry.refusal.error}".strip() if entry.refusal else entry.by or request_id


def _first_refusal(fallen: Iterable[RelationOutcome]) -> tuple[int, str, str, str] | None:
    refusals = (
        (*entry.refusal, str(entry.relation))
        for entry in fallen
        if entry.result == "failed" and entry.refusal
    )
    return next(refusals, None)


def _shortened(way: tuple[str, ...]) -> tuple[str, ...]:
    """The latest request ids that fit."""
    while len(" ".join(way)) > WAY:
        way = way[1:]
    return way
