"""What the store keeps and people see: jobs, requests, pauses. Values only."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

import msgspec

from worker.contract import Reference, Relation
from worker.planner.actions import Action, ErrorClass, Reply, Request, Verdict
from worker.planner.fold import IntentAction
from worker.ports.references import JobReference, Parking

JobState = Literal[
    "queued", "parked", "sending", "retrying", "verifying", "held", "succeeded", "superseded", "failed"
]
OPEN_STATES: tuple[JobState, ...] = ("queued", "parked", "sending", "retrying", "verifying", "held")
ERROR_CLASSES: Final = (  # that a job can fail with: of an answer of the API, or without one
    *(kind.value for kind in ErrorClass),
    *("dependency", "last_one", "not_found", "not_sent", "poison", "several", "unknown", "unreadable"),
)
FOREVER: Final = 2**62  # µs
CLOCK_SKEW_PAUSE: Final = 60  # seconds for which an account rests whose clock disagrees with the API's
OBSERVED: Final = "observed"
"""The answer to a request that was not sent, because its account only observes."""


class Dismissal(NamedTuple):
    """When (µs) a failed job was dismissed, by whom, and why."""

    at: int
    by: str
    why: str = ""


class Failure(NamedTuple):
    """A relation of a job that failed, with its own refusal: API code (0: none), error class, and text.

    `dismissed` if it needs no decision any more.
    """

    relation: Relation
    code: int
    error: str
    message: str = ""
    dismissed: Dismissal | None = None


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job: what it asks for, its state, counts of outcomes, refusals, and requests. Times in µs.

    `number` is its place in the order of acceptance. A job that stands for an unreadable message, or was
    emptied when a record was erased, has no type or no ids. `replays` is the job that it replaces,
    `replayed_by` are those that replace it, `replay` is the last replay that handled it. `failures` are the
    relations that failed, each with its refusal; `refusal` is the first: (code, error class, text, relation).
    It is `dismissed` when all of them are. The records of its `references` are among its ids once they were
    found; until then it may be `parked`. A replace `removes` once all that it names is there.
    """

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
    failures: tuple[Failure, ...]
    by: str
    number: int = 0
    dismissed: Dismissal | None = None
    replays: str = ""
    replayed_by: tuple[str, ...] = ()
    replay: str = ""
    correlation: str = ""
    allow_empty: bool = False
    references: tuple[JobReference, ...] = ()
    parked: Parking | None = None
    removes: bool = False

    @property
    def asks(self) -> IntentAction:
        """What it asks of the relations that are left to do: a replace creates first, and then removes."""
        if self.action == "replace":
            return "delete" if self.removes else "create"
        return self.action  # type: ignore[return-value]

    @property
    def failed(self) -> tuple[Relation, ...]:
        """The relations that failed."""
        return tuple(failure.relation for failure in self.failures)


class JobPage(NamedTuple):
    """Jobs, newest first, and the cursor of the next page (empty: no more)."""

    jobs: tuple[JobRecord, ...]
    next: str


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs of an account: every given field must match. Times of acceptance in µs, `until` is excluded.

    `failed_since` and `failed_until` are times of failure; they go with the state `failed`.

    `error` is the API's code or the error class of a failure. It matches failed jobs that need a decision,
    as the state `failed` does: neither replayed nor dismissed since. With either, the ids are those of one
    relation that failed. `reference` is one that a job names a record by, found or not.
    """

    state: str = ""
    type: str = ""
    parent: int = 0
    child: int = 0
    error: str = ""
    source: str = ""
    batch: str = ""
    event_id: str = ""
    reference: Reference | None = None
    since: int = 0
    until: int = 0
    failed_since: int = 0
    failed_until: int = 0

    def fits_failure(self, failure: Failure) -> bool:
        """Return whether a relation that failed is one that is asked for, by its ids and its error."""
        return (
            self.error in ("", str(failure.code), failure.error)
            and self.parent in (0, failure.relation.parent)
            and self.child in (0, failure.relation.child)
            and self.type in ("", failure.relation.type)
        )


class FailureGroup(NamedTuple):
    """The failed jobs of one error and relation type that need a decision.

    How many there are, when the oldest and the newest of them ended (µs), and the newest as an `example`.
    """

    code: int
    error: str
    type: str
    jobs: int
    first: int
    last: int
    example: str


class RequestPage(NamedTuple):
    """Requests, newest first, and the cursor of the next page (empty: no more)."""

    requests: "tuple[RequestRecord, ...]"
    next: str


class RelationEvent(NamedTuple):
    """One job that was about a relation, with its result there ("" while open)."""

    job: str
    result: str
    detail: str


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was sent and answered, without secrets, for `relations requests` and for explaining a relation.

    `answers` has (verdict, code, message) per action, `correlations` the first few ids of the calls behind
    its changes.
    """

    id: str
    at: int
    status: int
    seconds: float
    message: str
    actions: tuple[Action, ...]
    answers: tuple[tuple[str, int, str], ...]
    correlations: tuple[str, ...] = ()

    @classmethod
    def from_reply(
        cls, request_id: str, request: Request, reply: Reply, *, at: int, correlations: tuple[str, ...]
    ) -> "RequestRecord":
        """Return the record of a request that was sent, signed `at` (µs)."""
        return cls(
            id=request_id,
            at=at,
            status=reply.status,
            seconds=reply.seconds,
            message=reply.message,
            actions=request.actions,
            answers=tuple((result.verdict.value, result.code, result.message) for result in reply.results),
            correlations=correlations,
        )

    @classmethod
    def for_dry_run(cls, request: Request, *, at: int, correlations: tuple[str, ...]) -> "RequestRecord":
        """Return the record of a request that an observing account would send; equal ones have one id."""
        digest = blake2b(msgspec.json.encode(request), digest_size=8).hexdigest()
        answers = ((OBSERVED, 0, ""),) * len(request.actions)
        return cls(
            id=f"{OBSERVED}-{digest}",
            at=at,
            status=0,
            seconds=0.0,
            message="",
            actions=request.actions,
            answers=answers,
            correlations=correlations,
        )

    @property
    def observed(self) -> bool:
        """Whether it was not sent, because the account only observes."""
        return bool(self.answers) and self.answers[0][0] == OBSERVED


WaitReason = Literal[
    "pause",
    "brake",
    "credentials",
    "clock",
    "settings",
    "observe",
    "breaker",
    "pace",
    "window",
    "turn",
    "reference",
    "guard",
    "doubt",
    "suspicion",
    "backoff",
]
"""Why something waits.

Of an account: paused by hand, by the brake, for its credentials or its clock; not in the settings; only
observing; behind an open breaker; for its pace, or a Retry-After. Of a change in the inbox: its window, its
turn, or a record that was not found. Of a relation: the guard (R12), a write in doubt (R14), suspicion (R24),
backoff after an error.
"""
ACCOUNT_REASONS: Final[tuple[WaitReason, ...]] = (
    *("pause", "brake", "credentials", "clock", "settings", "observe", "breaker", "pace"),
)
"""Those of an account: nothing of it is sent."""


class Waiting(NamedTuple):
    """Why something waits, and until when (µs; 0: until somebody acts, or it is its turn).

    `relation` is the one that waits, if the reason is not its account's; `error` the class of the refusal
    that it would fail with in the end.
    """

    reason: WaitReason
    until: int
    message: str
    relation: Relation | None = None
    error: str = ""


class Pause(NamedTuple):
    """Why an account is stopped, since when, and until when (µs; 0: until an operator resumes it).

    `fingerprint` stands for the credentials that the API rejected, if that is the reason.
    """

    reason: str
    detail: str = ""
    since: int = 0
    until: int = 0
    fingerprint: str = ""

    @classmethod
    def after_reply(
        cls, reply: Reply, *, now: int, fingerprint: str, clock_corrected: bool
    ) -> "Pause | None":
        """Return the pause that a reply calls for (R18), if any.

        Rejected credentials pause until there are others; a signature that comes too late does so for a
        minute, but only if it was signed by the API's time (`clock_corrected`), or that is not known.
        """
        for result in reply.results:
            if result.verdict is not Verdict.REJECTED:
                continue
            detail = f"{result.code}: {result.message}"
            if result.error is ErrorClass.CREDENTIALS:
                return cls("credentials", detail, fingerprint=fingerprint)
            if result.error is ErrorClass.CLOCK and (clock_corrected or reply.skew is None):
                skew = f"; the API's clock is {reply.skew:+.0f} s from ours" if reply.skew is not None else ""
                return cls("clock", detail + skew, until=now + CLOCK_SKEW_PAUSE * 1_000_000)
        return None

    def ends_with(self, fingerprint: str) -> bool:
        """Return whether it is about rejected credentials, and these are others (R20)."""
        return (
            self.reason == "credentials"
            and bool(self.fingerprint and fingerprint)
            and self.fingerprint != fingerprint
        )
