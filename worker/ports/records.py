"""What is kept and shown: jobs, requests, pauses. Values only."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from worker.contract import Relation
from worker.planner.values import Action

JobState = Literal["queued", "sending", "retrying", "verifying", "succeeded", "superseded", "failed"]
OPEN_STATES: tuple[JobState, ...] = ("queued", "sending", "retrying", "verifying")


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


class Filter(msgspec.Struct, frozen=True, kw_only=True):
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


class Failure(NamedTuple):
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


class Mention(NamedTuple):
    """One job that named a relation, with its outcome there ("" while open)."""

    job: str
    result: str
    detail: str


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

    def ends_with(self, fingerprint: str) -> bool:
        """Whether it is about rejected credentials, and these are others (R20)."""
        return self.reason == "credentials" and bool(self.fingerprint and fingerprint) and self.fingerprint != fingerprint
