"""An account's work as a flush reads it, what one transition writes, and the lease that allows it."""

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import msgspec

from worker.contract import Change, Reference, Relation, Verb
from worker.planner.actions import Request, Verdict
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import ConfirmedState, Intent, Version
from worker.planner.relation_state import Doubt, OpenRelation
from worker.planner.relation_state import RelationRecord as RelationRecord
from worker.ports.integrity import StoreFlaw
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry, JobState
from worker.ports.references import LookUpBatch, LookUpResult
from worker.ports.requests import UNSETTLED, RequestRecord

LEASE_LIFETIME = 10.0
"""Seconds for which a lease that is not renewed is kept (R17)."""
MAX_COUNTDOWN = 5.0
"""Seconds that a flush message may wait in a worker's memory; the sweep wakes accounts for later work."""
CLOCK_ERROR_US: Final = 1_000_000
"""Microseconds by which what a worker takes for the server's time may be wrong."""


class ClaimedJob(msgspec.Struct, frozen=True, gc=False):
    """An accepted job as a flush reads it.

    `relations` are those without an outcome. `occurred_at` is in µs, `accepted` its place in the order of
    acceptance. `accepted_at` (µs) is 0 for a job that was put back. A delete with `allow_empty` may take the
    last relation of a guarded record (R12). With `reads_first` nothing is created that is there already. A
    replace creates, but for those of its relations that it `removes`.
    """

    job: str
    action: Verb
    relations: tuple[Relation, ...]
    info: tuple[tuple[str, str], ...]
    occurred_at: int
    accepted: int
    accepted_at: int = 0
    correlation: str = ""
    allow_empty: bool = False
    reads_first: bool = False
    removes: frozenset[Relation] = frozenset()

    @classmethod
    def of_change(cls, job: str, change: Change, *, now: int, accepted: int) -> "ClaimedJob":
        """Return what a flush would read of a change; one without a time of its own occurs `now` (µs)."""
        at = now if change.occurred_at is None else change.occurred_at
        what = change.asks, change.relations, change.info
        return cls(job, *what, at, accepted, allow_empty=change.allow_empty)

    def asks_of(self, relation: Relation) -> Verb:
        """Return what it asks of one of its relations."""
        return "delete" if relation in self.removes else self.action

    def intent(self, action: Verb) -> Intent:
        """Return that it asks this of a relation."""
        version = Version(self.occurred_at, self.accepted)
        return Intent(version, self.job, action, self.info, self.correlation, self.allow_empty)


class BegunRequest(NamedTuple):
    """A request that was begun and never settled, and when it was signed (µs)."""

    request_id: str
    signed: int
    request: Request

    def unsettled(self, correlations: tuple[str, ...]) -> RequestRecord:
        """Return the record of the request; nobody knows its answer."""
        return RequestRecord(
            id=self.request_id,
            at=self.signed,
            status=0,
            seconds=0.0,
            message=UNSETTLED,
            actions=self.request.actions,
            answers=((Verdict.UNKNOWN.value, 0, ""),) * len(self.request.actions),
            correlations=correlations,
        )


class WorkBatch(NamedTuple):
    """One batch, read at `now` (µs): new jobs, open relations that are due, requests of a dead worker.

    `records` has every relation of the jobs and of those that are due. A `small` batch is smaller than asked
    for, because a worker died of one lately; a `condemned` one three workers in a row did not survive (R21).
    The jobs of a `recovered` one were claimed by a dead worker: they are claimed once more, before what it
    had begun is judged, and worked by the next flush. `mended` is what contradicted itself and was put right.
    `look_ups` is whether changes wait for records that are to be looked up now, `waiting` is how many changes
    wait behind the batch.
    """

    now: int
    jobs: tuple[ClaimedJob, ...]
    due: tuple[Relation, ...]
    records: Mapping[Relation, RelationRecord]
    begun: tuple[BegunRequest, ...]
    condemned: bool = False
    small: bool = False
    recovered: bool = False
    mended: tuple[StoreFlaw, ...] = ()
    look_ups: bool = False
    waiting: int = 0

    @property
    def named(self) -> list[Relation]:
        """The relations of its jobs, one that several name as often."""
        return [relation for job in self.jobs for relation in job.relations]


class OpenWrite(msgspec.Struct, frozen=True, gc=False):
    """The new state of an open relation (None: closed), and its guarded record, if any (R12).

    A write of it may land until `in_doubt_until` (µs), even if it is closed.
    """

    open: OpenRelation | None
    guard: str = ""
    in_doubt_until: int = 0


class DeleteBrake(NamedTuple):
    """How many deletes may leave within an hour, and how many are planned, including this request's."""

    limit: int
    planned: int

    def detail(self, account: str) -> str:
        """Return the text of the pause; the store fills in `%d`, how many deletes there would have been."""
        return (
            f"%d deletes within an hour, max_deletes_per_hour = {self.limit}; if they are wanted, "
            f"`relations accounts resume {account}` allows {self.limit} more"
        )


@dataclass(slots=True)
class Writes:
    """Everything that one transition changes, applied at once or not at all.

    What a person asked for has an entry of the audit log, with how much of it this does.
    """

    opens: dict[Relation, OpenWrite] = field(default_factory=dict)
    confirmed: dict[Relation, tuple[ConfirmedState, Doubt | None]] = field(default_factory=dict)
    outcomes: list[RelationOutcome] = field(default_factory=list)
    job_states: dict[str, JobState] = field(default_factory=dict)
    requests: tuple[RequestRecord, ...] = ()
    audit_entry: AuditEntry | None = None


class Lease(Protocol):
    """The right to work an account. Methods that move work raise LeaseLost once another worker holds it.

    They raise StoreRolledBack, a LeaseLost, when the store has lost what it acknowledged to this holder.

    `pause` is why the account is stopped, if it is; `refused_credentials` the fingerprint of credentials that
    the API rejected before others ended that pause ("": none).
    """

    account: str
    pause: Pause | None
    refused_credentials: str

    def read(self, *, max_jobs: int, max_relations: int, in_progress: Container[Relation] = ()) -> WorkBatch:
        """Return the next batch, without the open relations that are in progress; it stays until claimed."""

    def records(self, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what the store has of these relations."""

    def guarded_relations(self, guards: Sequence[str]) -> Mapping[str, Sequence[Relation]]:
        """Return the relations of these guarded records that are open, or closed with a write in doubt."""

    def claim(self, jobs: Sequence[ClaimedJob], begun: Sequence[BegunRequest], writes: Writes) -> bool:
        """Move jobs from the inbox into open relations, and clear what a dead worker had begun.

        Return False, with nothing written, if one of the jobs was cancelled or erased since it was read.
        """

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None = None) -> int | Pause:
        """Journal a request; return when it is signed (µs), or the pause for which it must not be sent.

        More deletes than the brake allows pause the account.
        """

    def settle(self, request_id: str, writes: Writes) -> None:
        """Write what came of a begun request, and clear its journal."""

    def note_request(self, record: RequestRecord) -> None:
        """Let the next step write that this was sent, and answered or not: a read that was not begun."""

    def read_look_ups(self, most: int) -> LookUpBatch:
        """Return the changes whose records are to be looked up now, so many at most of each kind."""

    def known_records(self, references: Collection[Reference], *, memory: float) -> Mapping[Reference, int]:
        """Return the records that references led to within so many seconds, and that the API still knows."""

    def write_look_ups(
        self, results: Sequence[LookUpResult], records: Mapping[Reference, int], *, memory: float
    ) -> None:
        """Write what became of these changes, and the records that references lead to for so many seconds."""

    def forget_records(self, relations: Iterable[Relation], *, memory: float) -> None:
        """Let references lead to the records of these relations no more before they were looked up again."""

    def set_pause(self, pause: Pause) -> None:
        """Pause the account."""

    def renew(self) -> None:
        """Prolong the lease."""

    def release(self, *, window: float = 0.0, rest: float = 0.0) -> float | None:
        """Give the lease back; return the seconds until work is next due, None if there is none.

        What came into the inbox meanwhile waits `window` seconds from its acceptance for company. Nothing is
        due before `rest` seconds are over. Within MAX_COUNTDOWN the account is marked as woken.
        """


LeaseKeeper = Callable[[Lease], AbstractContextManager[object]]
"""Renews a lease in the background until the block ends."""
