"""What a change becomes when it is accepted, and an unreadable message when it is kept. Pure."""

from collections.abc import Sequence

import msgspec

from worker.contract import Change, Reference
from worker.ports.store import Retention, Submission
from worker.store.jobs.stored_job import (
    ACTIONS,
    FAILED,
    TO_BE_READ_FIRST,
    LoadedJob,
    StoredJob,
    StoredReference,
)
from worker.store.keys import delivery, event, short_id
from worker.store.limits import MAX_FAULT_LENGTH, to_us

_pack = msgspec.msgpack.Encoder().encode


def encode_submission(entry: Submission) -> tuple[str, bytes, bytes]:
    """Return the id, the event's digest and the value of a new job, without the head that the script adds."""
    change, short = entry.change, short_id(entry.job)
    digest = (delivery if change.delivered else event)(change.source, entry.event_id)
    value = (
        ACTIONS[change.action],
        change.type,
        change.parents,
        change.children,
        # 0 stands for the time of acceptance
        0 if change.occurred_at is None else max(1, change.occurred_at),
        digest,
        "" if entry.event_id == short else entry.event_id,
        dict(change.info) if change.info else None,
        change.source,
        change.batch,
        change.correlation,
        change.allow_empty,
    )
    if change.replaces or change.parent_references or change.child_references:
        references = (*_stored("p", change.parent_references), *_stored("c", change.child_references))
        phase = TO_BE_READ_FIRST if _is_read_first(entry) else 0
        stored = StoredJob(*value, references=references, replaces=change.replaces[:1], phase=phase)
        if phase:
            stored.total = stored.left = stored.not_ended
        return short, digest, _pack(stored)
    return short, digest, _pack(value)


def needs_look_up(entry: Submission) -> bool:
    """Return whether something has to be read before the change can be carried out."""
    return bool(entry.change.parent_references or entry.change.child_references) or _is_read_first(entry)


def _is_read_first(entry: Submission) -> bool:
    """Return whether it is a replace that has nothing to create before it removes."""
    return bool(entry.change.replaces) and (entry.removes_first or not _names_any(entry.change))


def _names_any(change: Change) -> bool:
    """Return whether the side that a replace is about is to have any record at all."""
    if change.replaces == "parent":
        return bool(change.parents or change.parent_references)
    return bool(change.children or change.child_references)


def _stored(side: str, references: Sequence[Reference]) -> list[StoredReference]:
    return [StoredReference(side, *reference) for reference in references]


def unreadable_job(
    short: str,
    number: int,
    fault: str,
    *,
    source: str,
    event_id: str,
    digest: bytes,
    now: int,
    keep: Retention,
) -> LoadedJob:
    """Return the failed job that stands for an unreadable message."""
    value = StoredJob(
        digest=digest,
        event_id="" if event_id == short else event_id,
        source=source,
        state=FAILED,
        finished_at=now,
        expires=now + to_us(keep.failed),
        left=0,
        total=0,
        refusal=(0, "unreadable", fault[:MAX_FAULT_LENGTH], ""),
    )
    return LoadedJob(short, now, number, value, is_kept=True)
