"""What an account in memory holds, thing by thing: jobs, memories, batches, the lease and what is kept for people. Values only."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from worker.contract import Relation
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
    key: tuple[str, str] = ("", "")
    again: tuple[Relation, ...] = ()
    back_at: int = 0
    ends: int = FOREVER

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Every relation it names."""
        record = self.record
        return tuple(
            Relation(record.type, parent, child) for parent in record.parents for child in record.children
        )

    def start(self) -> None:
        """It leaves the inbox."""
        self.again, self.record = (), replace(self.record, state="sending")

    def taken(self) -> ClaimedJob:
        """The job as a flush reads it."""
        record = self.record
        relations = self.again or self.relations
        brought = 0 if self.again else record.accepted_at, record.correlation
        return ClaimedJob(
            record.id,
            record.action,  # type: ignore[arg-type]
            relations,
            record.info,
            record.occurred_at,
            self.number,
            self.firsts,
            *brought,
        )


@dataclass(slots=True)
class StoredRelation:
    """What is remembered of a relation, and the outcomes of the jobs that named it."""

    known: ConfirmedState | None = None
    doubt: Doubt | None = None
    mentions: dict[str, RelationEvent] = field(default_factory=dict)
    ends: int = FOREVER


@dataclass(slots=True)
class Batch:
    """Counts of a batch label."""

    counts: Counter[str] = field(default_factory=Counter)
    ends: int = FOREVER


class Kept(NamedTuple):
    """What is kept of an unreadable message, and until when (µs)."""

    payload: Payload
    ends: int


@dataclass(slots=True)
class Replaying:
    """A replay and its set, when it is forgotten, and when it last came on (µs)."""

    replay: Replay
    entries: tuple[ReplayEntry, ...]
    ends: int
    moved_at: int = 0


class Remembered(NamedTuple):
    """An event id that is remembered longer than its job: the job, the fingerprint of its content, and until when."""

    job: str
    fingerprint: str
    ends: int


class Sent(NamedTuple):
    """The record of a request, and when it is forgotten."""

    record: RequestRecord
    ends: int
