"""What the store keeps of jobs, and of who did what to them; people see it. Values only."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from worker.contract import GuardedSide, Reference, Relation, Verb
from worker.planner.actions import ErrorClass
from worker.ports.references import JobReference, Parking

JobState = Literal[
    "queued", "parked", "sending", "retrying", "verifying", "held", "succeeded", "superseded", "failed"
]
OPEN_STATES: tuple[JobState, ...] = ("queued", "parked", "sending", "retrying", "verifying", "held")
EndedState = Literal["succeeded", "superseded", "failed"]
ENDED_STATES: Final[tuple[EndedState, ...]] = get_args(EndedState)
ERROR_CLASSES: Final = (  # that a job can fail with: of an answer of the API, or without one
    *(kind.value for kind in ErrorClass),
    *("dependency", "last_one", "not_found", "not_sent", "poison", "several", "unknown", "unreadable"),
)
FOREVER: Final = 2**62  # µs


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
    found; until then it may be `parked`. A replace has the side that it `replaces`, and
    `removals` once it has read what there is.
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
    replaces: GuardedSide = ""
    removals: tuple[Relation, ...] = ()

    def asks_of(self, relation: Relation) -> Verb:
        """Return what it asks of one of its relations: a replace removes what it has found."""
        if self.action == "replace":
            return "delete" if relation in self.removals else "create"
        return self.action  # type: ignore[return-value]

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The relations of its ids."""
        return tuple(Relation(self.type, parent, child) for parent in self.parents for child in self.children)

    @property
    def failed(self) -> tuple[Relation, ...]:
        """The relations that failed."""
        return tuple(failure.relation for failure in self.failures)


FILTER_TIMES: Final = ("since", "until", "failed_since", "failed_until")


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


class RelationEvent(NamedTuple):
    """One job that was about a relation, with its result there ("" while open)."""

    job: str
    result: str
    detail: str


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what, to what (in words) and to how many.

    `name` is a fresh sortable id; the store sets `at` (µs) and `count`.
    """

    name: str
    by: str
    act: str
    what: str = ""
    note: str = ""
    count: int = 0
    at: int = 0
