"""The values that an account of the store in memory holds."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.fold import ConfirmedState
from worker.planner.relation_state import Doubt
from worker.ports import (
    FOREVER,
    ClaimedJob,
    JobRecord,
    Payload,
    RelationEvent,
    Replay,
    ReplayEntry,
    RequestRecord,
)

replace = msgspec.structs.replace


def to_us(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return round(seconds * SECOND)


class LeaseHolder(NamedTuple):
    """Who may work the account, and until when (µs)."""

    holder: str
    until: int


class WakeMark(NamedTuple):
    """A flush message is under way since `at`; after `delay` it counts as lost (µs)."""

    at: int
    delay: int


class CurrentBatch(NamedTuple):
    """The batch being worked (R21): its limit, what to read if its worker dies, and what is in it alone."""

    size: int
    half: int
    alone: Relation | str | None
    losses: int
    holder: str
    full: bool


@dataclass(slots=True)
class StoredJob:
    """A job's record, and what its record does not show."""

    record: JobRecord
    number: int
    fingerprint: str
    left: int
    key: tuple[str, str] = ("", "")
    remaining: tuple[Relation, ...] = ()  # of a requeued job: the relations that are left to do
    requeued_at: int = 0
    expires: int = FOREVER

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Every relation it names."""
        record = self.record
        return tuple(
            Relation(record.type, parent, child) for parent in record.parents for child in record.children
        )

    def leave_inbox(self) -> None:
        """Note that a flush has claimed it."""
        self.remaining, self.record = (), replace(self.record, state="sending")

    def as_claimed(self) -> ClaimedJob:
        """Return the job as a flush reads it."""
        record = self.record
        return ClaimedJob(
            record.id,
            record.action,  # type: ignore[arg-type]
            self.remaining or self.relations,
            record.info,
            record.occurred_at,
            self.number,
            0 if self.remaining else record.accepted_at,
            record.correlation,
            record.allow_empty,
        )


@dataclass(slots=True)
class StoredRelation:
    """What is remembered of a relation, and the outcomes of the jobs that named it."""

    confirmed: ConfirmedState | None = None
    doubt: Doubt | None = None
    events: dict[str, RelationEvent] = field(default_factory=dict)
    expires: int = FOREVER


@dataclass(slots=True)
class BatchCounts:
    """The counts of a batch label."""

    counts: Counter[str] = field(default_factory=Counter)
    expires: int = FOREVER


class StoredPayload(NamedTuple):
    """What is kept of an unreadable message, and until when (µs)."""

    payload: Payload
    expires: int


@dataclass(slots=True)
class StoredReplay:
    """A replay and its set, when it expires, and when it last advanced (µs)."""

    replay: Replay
    entries: tuple[ReplayEntry, ...]
    expires: int
    advanced_at: int = 0


class RememberedEvent(NamedTuple):
    """An event id that outlives its job: the job, its content's fingerprint, and when it expires (µs)."""

    job: str
    fingerprint: str
    expires: int


class StoredRequest(NamedTuple):
    """The record of a request, and when it expires (µs)."""

    record: RequestRecord
    expires: int
