"""Contradictions in what is stored, the writes that end them, and the numbers they are held against. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from worker.contract import Change
from worker.contract.instant import to_us
from worker.planner.fold import RESULTS
from worker.ports.integrity import StoreFlaw
from worker.ports.store import Retention
from worker.store.jobs import lifecycle
from worker.store.jobs.stored_job import (
    ACTION_OF,
    FAILED,
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
