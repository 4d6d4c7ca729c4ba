"""What is kept and shown: jobs, requests, pauses. Values only."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

import msgspec

from worker.contract import Relation
from worker.planner.actions import Action, ErrorClass, Reply, Request, Verdict

JobState = Literal["queued", "sending", "retrying", "verifying", "succeeded", "superseded", "failed"]
OPEN_STATES: tuple[JobState, ...] = ("queued", "sending", "retrying", "verifying")
FOREVER: Final = 2**62  # µs
CLOCK_PAUSE: Final = 60.0  # seconds an account rests whose clock disagrees with the API's
OBSERVED: Final = "observed"
"""What stands for the answer of a request that was not sent, because its account only observes."""


class Dismissal(NamedTuple):
    """When (µs) a failed job was let go of, by whom, and why."""

    at: int
    by: str
    why: str = ""


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is kept: counts of outcomes, the first refusal, the requests it travelled in. Times in µs.

    `number` is its place in the order of acceptance. One that stands for an unreadable message, or was emptied when a record
    was erased, has no type, or no ids. `replays` is the job it was sent in place of, `replayed_by` are those sent in its place, `replay` is
    the replay that worked it last.
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
    failed: tuple[Relation, ...]
    by: str
    number: int = 0
    dismissed: Dismissal | None = None
    replays: str = ""
    replayed_by: tuple[str, ...] = ()
    replay: str = ""
    correlation: str = ""


class JobPage(NamedTuple):
    """Jobs, newest first, and the cursor of the next page (empty: no more)."""

    jobs: tuple[JobRecord, ...]
    next: str


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs of an account: every field that is given must fit. Times of acceptance in µs, `until` is not included.

    `error` is the API's code or the class of what the job failed of; it asks for failed jobs that wait for a decision,
    as the state `failed` does: neither replayed nor dismissed since.
    """

    state: str = ""
    type: str = ""
    parent: int = 0
    child: int = 0
    error: str = ""
    source: str = ""
    batch: str = ""
    since: int = 0
    until: int = 0


class FailureGroup(NamedTuple):
    """The failed jobs of one error and relation type that wait for a decision: how many, and when the oldest and the newest of
    them ended (µs); `example` is the newest."""

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
    """One job that named a relation, with its outcome there ("" while open)."""

    job: str
    result: str
    detail: str


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was sent and answered, without secrets; kept for `relations requests` and for explaining a relation.

    `correlations` are what the calls go by that brought its changes, the first few of them.
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
    def of(
        cls, name: str, request: Request, reply: Reply, *, at: int, correlations: tuple[str, ...]
    ) -> "RequestRecord":
        """Of a request that was sent, and signed at that time (µs)."""
        return cls(
            id=name,
            at=at,
            status=reply.status,
            seconds=reply.seconds,
            message=reply.message,
            actions=request.actions,
            answers=tuple(
                (outcome.verdict.value, outcome.code, outcome.message) for outcome in reply.results
            ),
            correlations=correlations,
        )

    @classmethod
    def would_be(cls, request: Request, *, at: int, correlations: tuple[str, ...]) -> "RequestRecord":
        """Of a request that an account would send that only observes; equal ones have the same id."""
        name = f"{OBSERVED}-{blake2b(msgspec.json.encode(request), digest_size=8).hexdigest()}"
        answers = ((OBSERVED, 0, ""),) * len(request.actions)
        return cls(
            id=name,
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
        """Whether it was not sent: the account only observes."""
        return bool(self.answers) and self.answers[0][0] == OBSERVED


class Pause(NamedTuple):
    """Why an account is stopped, since when, and until when (µs; 0: until someone resumes it)."""

    reason: str
    detail: str = ""
    since: int = 0
    until: int = 0
    fingerprint: str = ""

    @classmethod
    def after(cls, reply: Reply, *, now: int, fingerprint: str, misdated: bool) -> "Pause | None":
        """The pause that rejected credentials call for, or a clock that disagrees even after the API's time was learned (R18)."""
        for outcome in reply.results:
            if outcome.verdict is Verdict.REJECTED and outcome.error is ErrorClass.CREDENTIALS:
                return cls("credentials", f"{outcome.code}: {outcome.message}", fingerprint=fingerprint)
            if (
                outcome.verdict is Verdict.REJECTED
                and outcome.error is ErrorClass.CLOCK
                and (misdated or reply.skew is None)
            ):
                skew = f"; the API's clock is {reply.skew:+.0f} s from ours" if reply.skew is not None else ""
                return cls(
                    "clock", f"{outcome.code}: {outcome.message}{skew}", until=now + round(CLOCK_PAUSE * 1e6)
                )
        return None

    def ends_with(self, fingerprint: str) -> bool:
        """Whether it is about rejected credentials, and these are others (R20)."""
        return (
            self.reason == "credentials"
            and bool(self.fingerprint and fingerprint)
            and self.fingerprint != fingerprint
        )
