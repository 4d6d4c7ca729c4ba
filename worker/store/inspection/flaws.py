"""Contradictions in what is stored, what is counted to find them, and the writes that end them. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from worker.contract import Change
from worker.contract.instant import to_us
from worker.planner.fold import RESULTS
from worker.ports.integrity import StoreFlaw
from worker.ports.store import Retention
from worker.store.jobs import lifecycle
from worker.store.jobs.stored_job import (
    ACTION_OF,
    COUNTED,
    FAILED,
    OUTCOME_COUNTERS,
    QUEUED,
    SENDING,
    SIDES,
    STATES,
    SUCCEEDED,
    SUPERSEDED,
    VERIFYING,
    LoadedJob,
)
from worker.store.keys import bucket_of, delivery, event

ENDED: Final = (SUCCEEDED, SUPERSEDED, FAILED)
LOST: Final = "lost"
"""The counter of accepted changes that the store has lost: they have neither a state nor an outcome."""

Write = tuple[object, ...]
"""A command of a commit: its name, its key as in `keys.py`, its arguments."""


class Flaw(NamedTuple):
    """A contradiction, and the writes that end it."""

    what: StoreFlaw
    writes: tuple[Write, ...] = ()


class StoredNumbers(NamedTuple):
    """What is read at one moment, before all else: the numbers that the rest is held against."""

    accepted: int
    dead: int
    held: int
    events: int
    counts: Mapping[str, int]
    buckets: Mapping[int, int]
    claimed: tuple[str, ...]


def flaw(kind: str, subject: object, message: str, *writes: Write) -> Flaw:
    """Return a flaw."""
    return Flaw(StoreFlaw(kind, str(subject), message), writes)


def restore(job: LoadedJob, results: Counter[str], left: int, *, now: int, keep: Retention) -> None:
    """Set what a job says of its relations to these results, with so many left to do."""
    v = job.value
    counts = [results[name] for name in RESULTS]
    v.left, v.counts, v.again = left, (counts[0], counts[1], counts[2], counts[3]), ()
    erased = v.total - left - sum(counts)  # relations that the job names no more
    if erased > 0:
        v.counts = (counts[0], counts[1] + erased, counts[2], counts[3])
        results["superseded"] += erased
    if left:
        v.state, v.finished_at, v.expires = VERIFYING, 0, 0
        return
    if lifecycle.has_to_remove(v):
        lifecycle.await_read(job)
        v.finished_at, v.expires = 0, 0
        return
    v.state = FAILED if v.counts[3] else SUCCEEDED if v.counts[0] else SUPERSEDED
    v.finished_at = v.finished_at or now
    v.expires = v.expires or now + to_us(keep.failed if v.state == FAILED else keep.finished)


def fingerprint_of(account: str, job: LoadedJob) -> str:
    """Return the fingerprint of the change that became the job; "" for one that a webhook delivered."""
    v, found = job.value, {(each.side, each.record) for each in job.value.references}
    found |= {("p", each.parent) if v.replaces == "p" else ("c", each.child) for each in job.removals()}
    event_id = v.event_id or job.short
    if v.digest == delivery(v.source, event_id) or v.digest != event(v.source, event_id):
        return ""
    change = Change(
        account=account,
        action=ACTION_OF[v.action],  # type: ignore[arg-type]
        type=v.type,
        parents=tuple(each for each in v.parents if ("p", each) not in found),
        children=tuple(each for each in v.children if ("c", each) not in found),
        info=tuple(sorted(v.info.items())) if v.info else (),
        occurred_at=v.occurred_at or None,
        allow_empty=v.allow_empty,
        parent_references=tuple(each.reference for each in v.references if each.side == "p"),
        child_references=tuple(each.reference for each in v.references if each.side == "c"),
        replaces=SIDES[v.replaces] if v.replaces else "",
    )
    return change.fingerprint


def keep_writes(job: LoadedJob) -> Iterator[Write]:
    """Yield the writes that move a failed job to those that are kept."""
    yield "HSET", "kept", job.short, job.encode()
    yield "HDEL", f"jobs:{bucket_of(job.short)}", job.short
    yield "ZADD", "keep", job.number, job.short


def count_writes(job: LoadedJob, before: int, deltas: Mapping[str, int]) -> Iterator[Write]:
    """Yield the counts that follow a restored job."""
    changed = Counter[str]({STATES[job.value.state]: 1})
    changed.subtract({STATES[before]: 1})
    if job.value.batch:
        for state in ENDED:
            if by := changed[STATES[state]]:
                yield "HINCRBY", f"batch:{job.value.batch}", STATES[state], by
    changed.update({f"relations_{result}": by for result, by in deltas.items()})
    for name, by in changed.items():
        if by and name != "queued":
            yield "HINCRBY", "counts", name, by


class Tally:
    """The jobs that were accepted before a survey began, counted as the account counts them.

    A bucket ends `ends_ms` after its last open job. `highest` is the highest acceptance number, also of later
    jobs.
    """

    def __init__(self, stored: StoredNumbers, ends_ms: int) -> None:
        self.jobs, self.highest, self._stored, self._ends_ms = 0, 0, stored, ends_ms
        self._states, self._outcomes = Counter[str](), Counter[str]()
        self._labels: dict[str, Counter[str]] = {}
        self._opened: dict[int, int] = dict.fromkeys(stored.buckets, 0)

    def count(self, job: LoadedJob, claimed: Collection[str]) -> None:
        """Count a job."""
        v = job.value
        self.jobs += 1
        self.highest = max(self.highest, job.number)
        is_claimed = v.state == QUEUED and job.short in claimed
        self._states[STATES[SENDING if is_claimed else v.state]] += 1
        self._outcomes.update(dict(zip(RESULTS, v.counts, strict=True)))
        if not job.is_kept:
            bucket = bucket_of(job.short)
            self._opened[bucket] = self._opened.get(bucket, 0) + job.is_open
        if v.batch:
            label = self._labels.setdefault(v.batch, Counter())
            label["accepted"] += 1
            if v.state in ENDED:
                label[STATES[v.state]] += 1

    def buckets(self) -> list[int]:
        """Return the buckets of jobs."""
        return sorted(self._opened)

    def labels(self) -> list[str]:
        """Return the batch labels of jobs."""
        return sorted(self._labels)

    def check_buckets(self, lifetimes: Mapping[int, Sequence[int]]) -> Iterator[Flaw]:
        """Yield wrong numbers of open jobs, and buckets that end too early or never (`lifetimes` in ms)."""
        for bucket, opened in self._opened.items():
            counted = self._stored.buckets.get(bucket)
            if counted != opened:
                message = f"counts {counted or 0} open jobs, of which there are {opened}"
                write = ("OPEN", bucket, opened - (counted or 0), self._ends_ms)
                yield flaw("counter", f"bucket {bucket}", message, write)
            elif any((left == -1) is not bool(opened) for left in lifetimes.get(bucket, ()) if left != -2):
                message = "would end while jobs are open" if opened else "has no end"
                yield flaw("index", f"bucket {bucket}", message, ("OPEN", bucket, 0, self._ends_ms))

    def check_labels(self, labels: Mapping[str, Mapping[str, int]], accepted: int) -> Iterator[Flaw]:
        """Yield wrong counts of batch labels; `accepted` is how many changes are accepted by now."""
        for label, right in self._labels.items():
            known, wrong = labels.get(label, {}), dict[str, int]()
            if known.get("accepted", 0) < right["accepted"]:
                continue  # it has ended, as the last of its jobs did, and was perhaps begun anew
            for name in ("accepted", *(STATES[state] for state in ENDED)):
                short = right[name] - known.get(name, 0)
                if short > 0 or (short < 0 and self._is_exact and accepted == self._stored.accepted):
                    wrong[name] = short
            if wrong:
                message = f"counts are wrong by {wrong}"
                writes = (("HINCRBY", f"batch:{label}", name, by) for name, by in wrong.items())
                yield flaw("counter", f"batch {label}", message, *writes)

    def check_numbers(self, accepted: int) -> Iterator[Flaw]:
        """Yield a number of accepted changes (by now) that is too low; all else is held against it."""
        if self.highest > accepted:
            message = f"counts {accepted}, and job number {self.highest} was accepted"
            yield flaw(
                "counter", "accepted", message, ("HINCRBY", "counts", "accepted", self.highest - accepted)
            )

    def check_counters(self) -> Iterator[Flaw]:
        """Yield counters that do not add up.

        What is counted of jobs that were forgotten is not known one by one, but their number is.
        """
        counts, right = self._stored.counts, dict[str, int]()
        for name in COUNTED:
            right[name] = self._states[name]
        seen: dict[str, int] = {STATES[state]: self._states[STATES[state]] for state in ENDED}
        seen |= {counter: self._outcomes[result] for result, counter in OUTCOME_COUNTERS.items()}
        for name, value in seen.items():
            right[name] = value if self._is_exact else max(value, counts.get(name, 0))
        for name, value in right.items():
            if value != counts.get(name, 0):
                message = f"counts {counts.get(name, 0)}, and {value} would be right"
                yield flaw("counter", name, message, ("HINCRBY", "counts", name, value - counts.get(name, 0)))
        states = sum(right[name] for name in (*COUNTED, *(STATES[state] for state in ENDED)))
        known = states + self._states["queued"] + counts.get(LOST, 0)
        if known < self._stored.accepted:
            gone = self._stored.accepted - known
            message = f"{gone} accepted changes have no state: the store has lost them"
            yield flaw("lost", "accepted", message, ("HINCRBY", "counts", LOST, gone))
        elif known > self._stored.accepted:
            by = known - self._stored.accepted
            message = f"counts {self._stored.accepted}, and the states of jobs {known}"
            yield flaw("counter", "accepted", message, ("HINCRBY", "counts", "accepted", by))

    @property
    def _is_exact(self) -> bool:
        """Whether every job that was ever accepted is still there."""
        return self.jobs == self._stored.accepted
