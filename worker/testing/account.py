"""Everything the store in memory holds of one account, and how one transition writes into it. Knows no Lua and no Redis."""

import sys
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Final, NamedTuple

import msgspec

from worker.contract import Relation
from worker.planner.answer import Settled
from worker.planner.case import Doubt, Open
from worker.planner.fold import NOTHING, Known
from worker.ports import Begun, JobRecord, JobState, Mention, OpenWrite, Pause, Record, RequestRecord, Side, Taken, Writes
from worker.store.bounds import EXAMINED, Keep

FOREVER: Final = sys.maxsize  # µs
HISTORY: Final = 40  # jobs remembered per relation
SLACK: Final = 8  # entries more than that before the oldest go
WAY: Final = 120  # characters of request ids remembered per job
RESULTS: Final = ("applied", "superseded", "stale", "failed")

replace = msgspec.structs.replace


class Holding(NamedTuple):
    """Who may work the account, and until when (µs)."""

    holder: str
    until: int


class Wake(NamedTuple):
    """A flush message is under way since `at`; after `delay` it counts as lost (µs)."""

    at: int
    delay: int


class Hand(NamedTuple):
    """The batch in hand (R21): its bound, what to try if its worker dies, and the one thing in it if it is alone."""

    size: int
    half: int
    alone: Relation | str | None
    losses: int
    holder: str
    full: bool


@dataclass(slots=True)
class Job:
    """A job's record, and what its record does not show."""

    record: JobRecord
    number: int
    fingerprint: str
    firsts: tuple[str, ...]
    left: int
    again: tuple[Relation, ...] = ()
    ends: int = FOREVER

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Every relation it names."""
        record = self.record
        return tuple(Relation(record.type, parent, child) for parent in record.parents for child in record.children)

    def start(self) -> None:
        """It leaves the inbox."""
        self.again, self.record = (), replace(self.record, state="sending")

    def taken(self) -> Taken:
        """The job as a flush reads it."""
        record = self.record
        relations = self.again or self.relations
        return Taken(record.id, record.action, relations, record.info, record.occurred_at, self.number, self.firsts)  # type: ignore[arg-type]


@dataclass(slots=True)
class Memory:
    """What is remembered of a relation, and the outcomes of the jobs that named it."""

    known: Known | None = None
    doubt: Doubt | None = None
    mentions: dict[str, Mention] = field(default_factory=dict)
    ends: int = FOREVER


@dataclass(slots=True)
class Batch:
    """Counts of a batch label."""

    counts: Counter[str] = field(default_factory=Counter)
    ends: int = FOREVER


class Sent(NamedTuple):
    """The record of a request, and when it is forgotten."""

    record: RequestRecord
    ends: int


@dataclass(slots=True)
class Account:
    """The inbox, the open relations, the jobs and the memories of one account."""

    keep: Keep
    inbox: deque[str] = field(default_factory=deque)
    jobs: dict[str, Job] = field(default_factory=dict)
    events: dict[tuple[str, str], str] = field(default_factory=dict)
    index: dict[int, str] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    opens: dict[Relation, Open] = field(default_factory=dict)
    due: dict[Relation, int] = field(default_factory=dict)
    guards: defaultdict[str, dict[Relation, Side]] = field(default_factory=lambda: defaultdict(dict))
    arriving: Counter[str] = field(default_factory=Counter)
    memories: dict[Relation, Memory] = field(default_factory=dict)
    journal: dict[str, Begun] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    batches: defaultdict[str, Batch] = field(default_factory=lambda: defaultdict(Batch))
    requests: dict[str, Sent] = field(default_factory=dict)
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

    def stop(self, pause: Pause, now: int) -> None:
        """Pause it; a pause that a person has to end is not shortened by one that ends by itself."""
        held = self.paused(now)
        if not held or held.until or not pause.until:
            self.pause = pause._replace(since=now)

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
        self.events.pop((job.record.source, job.record.event_id), None)
        return None

    def waiting(self, now: int) -> list[str]:
        """The failed jobs that wait for a decision, oldest first."""
        return [job_id for job_id in sorted(self.failed, key=self.failed.__getitem__) if self.job(job_id, now)]

    def open_jobs(self) -> dict[str, int]:
        """The jobs that have left the inbox, by state."""
        return Counter(job.record.state for job in self.jobs.values() if job.record.state in ("sending", "retrying", "verifying"))

    def memory(self, relation: Relation, now: int) -> Memory | None:
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

    def record(self, relation: Relation, now: int) -> Record:
        """What there is of a relation."""
        memory = self.memory(relation, now)
        return Record(self.opens.get(relation), (memory and memory.known) or NOTHING, memory.doubt if memory else None)

    def records(self, relations: Iterable[Relation], now: int) -> dict[Relation, Record]:
        """The same of several, without those of which there is nothing."""
        return {each: self.record(each, now) for each in relations if each in self.opens or self._is_known(each, now)}

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

    # --- writing

    def write(self, writes: Writes, request_id: str, now: int) -> None:
        """Everything one transition changes."""
        for relation, entry in writes.opens.items():
            self._open(relation, entry)
        fallen = _grouped(writes.settled)
        for relation in dict.fromkeys([*fallen, *writes.known]):
            self._remember(relation, writes.known.get(relation), fallen.get(relation, ()), request_id, now)
        for job_id, entries in _by_job(writes.states, fallen).items():
            job = self.job(job_id, now)
            if job and job.left:
                self._move(job, entries, writes.states.get(job_id), request_id, now)
        self.counts.update(f"relations_{entry.result}" for entry in writes.settled)

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
        self, relation: Relation, known: tuple[Known, Doubt | None] | None, fallen: Sequence[Settled], request_id: str, now: int
    ) -> None:
        memory = self.memory(relation, now) or Memory()
        if known:
            memory.known, memory.doubt = known
        memory.mentions |= {entry.job: Mention(entry.job, entry.result, _why(entry, request_id)) for entry in fallen}
        if len(memory.mentions) + (memory.known is not None) > HISTORY + SLACK:
            memory.mentions = {job: memory.mentions[job] for job in sorted(memory.mentions)[-HISTORY:]}
        memory.ends = now + _us(self.keep.memory)
        self.memories[relation] = memory

    def _move(self, job: Job, fallen: Sequence[Settled], state: JobState | None, request_id: str, now: int) -> None:
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
            attempts=record.attempts + (requests is not record.requests),
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
        if batch.counts["succeeded"] + batch.counts["superseded"] + batch.counts["failed"] >= batch.counts["accepted"]:
            batch.ends = now + _us(self.keep.failed)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _grouped(settled: Iterable[Settled]) -> dict[Relation, list[Settled]]:
    fallen: dict[Relation, list[Settled]] = {}
    for entry in settled:
        fallen.setdefault(entry.relation, []).append(entry)
    return fallen


def _by_job(states: Iterable[str], fallen: Mapping[Relation, list[Settled]]) -> dict[str, list[Settled]]:
    jobs: dict[str, list[Settled]] = {job: [] for job in states}
    for entries in fallen.values():
        for entry in entries:
            jobs.setdefault(entry.job, []).append(entry)
    return jobs


def _why(entry: Settled, request_id: str) -> str:
    return f"{entry.refusal.code} {entry.refusal.error}".strip() if entry.refusal else entry.by or request_id


def _first_refusal(fallen: Iterable[Settled]) -> tuple[int, str, str, str] | None:
    refusals = ((*entry.refusal, str(entry.relation)) for entry in fallen if entry.result == "failed" and entry.refusal)
    return next(refusals, None)


def _shortened(way: tuple[str, ...]) -> tuple[str, ...]:
    """The latest request ids that fit."""
    while len(" ".join(way)) > WAY:
        way = way[1:]
    return way
