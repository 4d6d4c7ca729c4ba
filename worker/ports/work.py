"""An account's work as it is read, and everything one transition writes; the lease that allows it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from worker.contract import Relation
from worker.planner.actions import Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import ConfirmedState, IntentAction
from worker.planner.relation_state import Doubt, OpenRelation
from worker.ports.records import JobState, Pause, RequestRecord

SOON = 5.0
"""Seconds: a flush message may wait so long, since its countdown lives in a worker's memory; what is due later is the sweep's."""


class ClaimedJob(NamedTuple):
    """An accepted job as a flush reads it; `relations` are those still to be done, `accepted_at` (µs) is 0 for one that was put back."""

    job: str
    action: IntentAction
    relations: tuple[Relation, ...]
    info: tuple[tuple[str, str], ...]
    occurred_at: int
    accepted: int
    first_halves: tuple[str, ...] = ()
    accepted_at: int = 0
    correlation: str = ""


class RelationRecord(NamedTuple):
    """What the store has of one relation: open work and memory."""

    open: OpenRelation | None = None
    confirmed: ConfirmedState = ConfirmedState()
    doubt: Doubt | None = None


class BegunRequest(NamedTuple):
    """A request that was begun and never settled: what it was, and when it was signed (µs)."""

    request_id: str
    signed: int
    request: Request


class WorkBatch(NamedTuple):
    """One batch: what is due, what is new, what the store knows of every relation in either, and what a dead worker left."""

    now: int
    jobs: tuple[ClaimedJob, ...]
    due: tuple[Relation, ...]
    records: Mapping[Relation, RelationRecord]
    begun: tuple[BegunRequest, ...]
    condemned: bool = False


class SwapPartners(NamedTuple):
    """The other half of swaps (R12): relations that go first for a guard key, when the earliest is due (µs), how many more
    are still in the inbox, and the relations that wait for them."""

    first: tuple[Relation, ...] = ()
    due: int = 0
    arriving: int = 0
    held: tuple[Relation, ...] = ()


SwapSide = Literal["", "first", "held"]


class OpenWrite(NamedTuple):
    """The new state of an open relation (None: closed), and the guard key it goes first for or waits for, if any."""

    open: OpenRelation | None
    guard: str = ""
    side: SwapSide = ""


class DeleteBrake(NamedTuple):
    """How many deletes may leave within an hour, and how many the plan still holds, this request's among them."""

    most: int
    ahead: int

    def detail(self, account: str) -> str:
        """What the pause says; `%d` is how many it would have been."""
        return (
            f"%d deletes within an hour, max_deletes_per_hour = {self.most}; if they are wanted, "
            f"`relations accounts resume {account}` allows {self.most} more"
        )


@dataclass(slots=True)
class Writes:
    """Everything one transition changes, applied at once or not at all."""

    opens: dict[Relation, OpenWrite] = field(default_factory=dict)
    confirmed: dict[Relation, tuple[ConfirmedState, Doubt | None]] = field(default_factory=dict)
    outcomes: list[RelationOutcome] = field(default_factory=list)
    job_states: dict[str, JobState] = field(default_factory=dict)
    request: RequestRecord | None = None


class Lease(Protocol):
    """The right to work an account. Every method that moves work raises LeaseLost once another holder has it."""

    account: str
    pause: Pause | None
    refused_credentials: (
        str  # the fingerprint of credentials that were, before others ended that pause; "" if there are none
    )

    def read(self, *, max_jobs: int, max_relations: int) -> WorkBatch:
        """The next batch; it stays where it is until taken."""

    def records(self, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """What the store has of these relations."""

    def swap_partners(self, guards: Sequence[str]) -> Mapping[str, SwapPartners]:
        """Who else belongs to these swaps."""

    def claim(self, jobs: Sequence[ClaimedJob], begun: Sequence[BegunRequest], writes: Writes) -> bool:
        """Move jobs from the inbox into open relations; clear what a dead worker had begun.

        False if one of the jobs has ended since it was read, by a person's act: then nothing was written, and it has to be read again.
        """

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None = None) -> int | Pause:
        """Journal a request and say when it is signed (µs), or why it must not be sent.

        What the brake does not allow pauses the account.
        """

    def settle(self, request_id: str, writes: Writes) -> None:
        """Write the outcomes of a begun request and clear its journal."""

    def set_pause(self, pause: Pause) -> None:
        """Pause the account."""

    def renew(self) -> None:
        """Hold it for another while."""

    def release(self, *, window: float = 0.0, rest: float = 0.0) -> float | None:
        """Give it back; seconds until work is next due (within a few, then the wake mark is set), None if there is none.

        What came in meanwhile waits for company as long as anything: `window` seconds from when it was accepted. Nothing is
        due before `rest` seconds are over, and nobody is woken for it until then.
        """
