"""What the use cases need of the world: a store, an API, a limiter, and the values that cross these borders.

The adapters are `store/`, `onoffice/` and `limiter/`; `worker.testing` ships an in-memory store that is held equal to the Redis one.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import msgspec

from worker.contract import Change, Relation
from worker.planner.answer import Settled
from worker.planner.case import Doubt, Open
from worker.planner.fold import Known, WishAction
from worker.planner.values import Action, Reply, Request

JobState = Literal["queued", "sending", "retrying", "verifying", "succeeded", "superseded", "failed"]
OPEN_STATES: tuple[JobState, ...] = ("queued", "sending", "retrying", "verifying")


SOON = 5.0
"""Seconds: a flush message may wait so long, since its countdown lives in a worker's memory; what is due later is the sweep's."""


class Submission(NamedTuple):
    """A change with the job id it gets if it is new. `redelivered` sources are told apart by event id alone, not by content.

    `firsts` are the guard keys of the relations it would put first (R12), counted until it is taken.
    """

    job: str
    change: Change
    event_id: str
    redelivered: bool = False
    firsts: tuple[str, ...] = ()


class Receipt(NamedTuple):
    """What became of a submission: its job, and whether that job existed before."""

    job: str
    duplicate: bool = False


class Refused(NamedTuple):
    """Why a submission was not accepted; `position` in the list that was handed in."""

    position: int
    reason: Literal["conflict", "ahead", "too_old"]
    job: str = ""


class Accepted(NamedTuple):
    """The answer of intake for one account: receipts or refusals (then nothing was written), and whether to wake a worker."""

    receipts: tuple[Receipt, ...]
    refused: tuple[Refused, ...] = ()
    wake: bool = False


class Taken(NamedTuple):
    """An accepted job as a flush reads it; `relations` are those still to be done."""

    job: str
    action: WishAction
    relations: tuple[Relation, ...]
    info: tuple[tuple[str, str], ...]
    occurred_at: int
    accepted: int
    firsts: tuple[str, ...] = ()


class Record(NamedTuple):
    """What the store has of one relation: open work and memory."""

    open: Open | None = None
    known: Known = Known()
    doubt: Doubt | None = None


class Begun(NamedTuple):
    """A request that was begun and never settled: what it was, and when it was signed (µs)."""

    request_id: str
    signed: int
    request: Request


class Work(NamedTuple):
    """One batch: what is due, what is new, what the store knows of every relation in either, and what a dead worker left."""

    now: int
    jobs: tuple[Taken, ...]
    due: tuple[Relation, ...]
    records: Mapping[Relation, Record]
    begun: tuple[Begun, ...]
    condemned: bool = False


class Neighbours(NamedTuple):
    """The other half of swaps (R12): relations that go first for a guard key, when the earliest is due (µs), how many more
    are still in the inbox, and the relations that wait for them."""

    first: tuple[Relation, ...] = ()
    due: int = 0
    arriving: int = 0
    held: tuple[Relation, ...] = ()


Side = Literal["", "first", "held"]


class OpenWrite(NamedTuple):
    """The new state of an open relation (None: closed), and the guard key it goes first for or waits for, if any."""

    open: Open | None
    guard: str = ""
    side: Side = ""


@dataclass(slots=True)
class Writes:
    """Everything one transition changes, applied at once or not at all."""

    opens: dict[Relation, OpenWrite] = field(default_factory=dict)
    known: dict[Relation, tuple[Known, Doubt | None]] = field(default_factory=dict)
    settled: list[Settled] = field(default_factory=list)
    states: dict[str, JobState] = field(default_factory=dict)
    request: "RequestRecord | None" = None


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent and answered, without secrets; kept for `relations requests` and for explaining a relation."""

    id: str
    at: int
    status: int
    seconds: float
    message: str
    actions: tuple[Action, ...]
    answers: tuple[tuple[str, int, str], ...]


class Pause(NamedTuple):
    """Why an account is stopped, since when, and until when (µs; 0: until someone resumes it)."""

    reason: str
    detail: str = ""
    since: int = 0
    until: int = 0
    fingerprint: str = ""


class Lease(Protocol):
    """The right to work an account. Every method that moves work raises LeaseLost once another holder has it."""

    account: str
    pause: Pause | None

    def read(self, *, max_jobs: int, max_relations: int) -> Work:
        """The next batch; it stays where it is until taken."""

    def records(self, relations: Iterable[Relation]) -> Mapping[Relation, Record]:
        """What the store has of these relations."""

    def neighbours(self, guards: Sequence[str]) -> Mapping[str, Neighbours]:
        """Who else belongs to these swaps."""

    def take(self, jobs: Sequence[Taken], begun: Sequence[Begun], writes: Writes) -> None:
        """Move jobs from the inbox into open relations; clear what a dead worker had begun."""

    def begin(self, request_id: str, request: Request) -> int | Pause:
        """Journal a request and say when it is signed (µs), or why it must not be sent."""

    def settle(self, request_id: str, writes: Writes) -> None:
        """Write the outcomes of a begun request and clear its journal."""

    def stop(self, pause: Pause) -> None:
        """Pause the account."""

    def renew(self) -> None:
        """Hold it for another while."""

    def release(self, *, window: float = 0.0) -> float | None:
        """Give it back; seconds until work is next due (within a few, then the wake mark is set), None if there is none.

        What came in meanwhile waits for company as long as anything: `window` seconds from when it was accepted.
        """


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is kept: counts of outcomes, the first refusal, the requests it travelled in. Times in µs."""

    id: str
    account: str
    state: JobState
    action: str
    type: str
    parents: tuple[int, ...]
    children: tuple[int, ...]
    info: tuple[tuple[str, str], ...]
    source: str
    event_id: str
    batch: str
    occurred_at: int
    accepted_at: int
    finished_at: int
    attempts: int
    total: int
    counts: Mapping[str, int]
    refusal: tuple[int, str, str, str] | None
    requests: tuple[str, ...]
    failed: tuple[Relation, ...]
    by: str


class Page(NamedTuple):
    """Jobs, newest first, and the cursor of the next page (empty: no more)."""

    jobs: tuple[JobRecord, ...]
    next: str


class Mention(NamedTuple):
    """One job that named a relation, with its outcome there ("" while open)."""

    job: str
    result: str
    detail: str


class Store(Protocol):
    """The status store and the accounts' inboxes."""

    def accept(self, account: str, submissions: Sequence[Submission], *, max_backlog: int, oldest: float) -> Accepted:
        """Write the submissions, all or none; the same again answers the same."""

    def lease(self, account: str, holder: str) -> Lease | None:
        """The account's lease, None while another holder has it. Clears the wake mark."""

    def due(self, accounts: Sequence[str]) -> list[str]:
        """The accounts with due work that nobody holds and no fresh message waits for; marks them as woken (R22)."""

    def accounts(self) -> list[str]:
        """Every account that ever had a change."""

    def job(self, job_id: str) -> JobRecord | None:
        """One job."""

    def jobs(self, account: str, *, state: str = "", limit: int = 50, cursor: str = "") -> Page:
        """Jobs, newest first; a page examines a bounded number of entries."""

    def batch(self, account: str, label: str) -> Mapping[str, int]:
        """Counts of a batch label: accepted, and finished by state."""

    def counts(self, account: str) -> Mapping[str, int]:
        """The account's counters: accepted, backlog, open relations, outcomes, requests, actions."""

    def mentions(self, account: str, relation: Relation) -> tuple[Record, tuple[Mention, ...]]:
        """What is kept of a relation, and the jobs that named it, oldest first."""

    def request(self, account: str, request_id: str) -> RequestRecord | None:
        """What was sent and answered."""

    def replay(self, account: str, jobs: Sequence[str]) -> tuple[list[str], bool]:
        """Put the failed relations of these jobs back into the inbox; the jobs that were, and whether to wake a worker."""

    def failed(self, account: str, *, limit: int) -> list[str]:
        """Ids of failed jobs, oldest first."""

    def paused(self, account: str) -> Pause | None:
        """Why the account is stopped, if it is."""

    def pause(self, account: str, pause: Pause) -> None:
        """Stop the account by hand."""

    def resume(self, account: str) -> bool:
        """Let it go on; whether it was paused."""


class Api(Protocol):
    """One account's way to the API."""

    def send(self, actions: Sequence[Action], *, request_id: str, now: float) -> Reply:
        """One request, one outcome per action; never raises for what the network does. `now` in seconds."""


Feedback = Literal["ok", "slow", "failed"]
"""What a request told about its account: answered · 429 · no usable answer (transport, timeout, 5xx)."""


Reason = Literal["", "pace", "retry_after", "breaker"]
"""Why a grant makes its holder wait or come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """An answer to `book`: a booked slot `wait` seconds from now, or, not booked, when to come back.

    `factor` scales the account's rate and its `max_actions`; with `probe` only a read may be sent; `open_for` is how
    long the breaker stays open. `slot` and `cost` (microseconds) name what was booked, for a refund.
    """

    booked: bool
    wait: float = 0.0
    factor: float = 1.0
    failures: int = 0
    probe: bool = False
    open_for: float = 0.0
    reason: Reason = ""
    slot: int = 0
    cost: int = 0

    def worth_reporting(self, feedback: Feedback) -> bool:
        """Whether a report would change anything: a healthy account costs one round trip per request, not two."""
        return feedback != "ok" or self.factor < 1 or self.failures > 0


class Limiter(Protocol):
    """When the next request of an account may go (R19, R20)."""

    def book(self, account: str, *, rate: float, burst: int, max_wait: float) -> Grant:
        """The next slot within `max_wait` seconds, booked; or, with nothing booked, when to come back."""

    def report(self, account: str, feedback: Feedback, *, retry_after: float = 0.0, reason: str = "") -> None:
        """Let a request's answer change the pace; needed only when it changes anything."""

    def refund(self, account: str, grant: Grant) -> bool:
        """Give a booked slot back when no request follows."""


class Clock(Protocol):
    """A monotonic clock that can also wait."""

    def monotonic(self) -> float:
        """Seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Keeper(Protocol):
    """Keeps a lease alive while the flush works."""

    def __call__(self, lease: Lease) -> AbstractContextManager[object]:
        """Renew the lease in the background until the block ends."""


class Events(Protocol):
    """Where the use cases say what happened: a past-tense dotted name and flat fields."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Say it."""
