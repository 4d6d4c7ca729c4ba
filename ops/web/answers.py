"""What the operators' routes answer, as types: the description is made of them, and generated clients are."""

from typing import Any, NotRequired, TypedDict

from producers.job_admin.erasure_proof import ErasureProof
from producers.webhooks.redelivery import SkipReason
from worker.ports import (
    DeliveryOutcome,
    DriftState,
    MessageState,
    ReplayState,
    RuleOutcome,
    Side,
    WaitReason,
)


class HealthVerdict(TypedDict):
    """What the API said of an action."""

    verdict: str
    code: int
    message: str


ErrorFact = TypedDict("ErrorFact", {"code": int, "class": str, "message": str})
FailureGroupDict = TypedDict(
    "FailureGroupDict",
    {
        "account": str,
        "code": int,
        "class": str,
        "message": str,
        "relationtype": str | None,
        "jobs": int,
        "first": str,
        "last": str,
        "example": str,
        "todo": str,
    },
)
"""The failed jobs of one error and relation type that wait for a decision.

Not a class statement, because `class` is a keyword of Python.
"""


class RelationDict(TypedDict):
    """A relation under its canonical type."""

    relationtype: str
    parentid: int
    childid: int


class WantedDict(TypedDict):
    """What is wanted of a relation; `presence` is null where only info or nothing is."""

    open: bool
    presence: bool | None
    text: str
    but: str | None


class RequestPartDict(TypedDict):
    """The part of a request that was about the relation."""

    id: str
    at: str
    action: str
    relations: int
    answer: HealthVerdict
    status: int
    seconds: float
    observed: bool
    text: str


class NamedRecordDict(TypedDict):
    """A record of the relation that a job names by a reference: looked up at `asked_at`, or chosen then."""

    side: Side
    reference: dict[str, dict[str, str]]
    asked_at: str
    chosen_by: str | None


class JobExplanationDict(TypedDict):
    """What became of a job here: in words, and as data."""

    id: str
    state: str  # of the relation; while it is open, of the job
    text: str
    action: NotRequired[str | None]
    source: NotRequired[str | None]
    occurred_at: NotRequired[str | None]
    by: NotRequired[str | None]
    request: NotRequired[str | None]
    verified: NotRequired[bool]
    error: NotRequired[ErrorFact | None]
    references: NotRequired[list[NamedRecordDict]]
    requests: list[RequestPartDict]


class ExplanationDict(TypedDict):
    """A relation explained by every job that named it."""

    relation: RelationDict
    wanted: WantedDict
    known: list[str]
    jobs: list[JobExplanationDict]


RecordFailuresDict = TypedDict(
    "RecordFailuresDict",
    {
        "account": str,
        "module": str,
        "id": int,
        "code": int,
        "class": str,
        "message": str,
        "relations": int,
        "jobs": int,
        "first": str,
        "last": str,
        "example": str,
    },
)
"""The failed relations of a record that is most likely the reason, with their most frequent error."""


class FailuresDict(TypedDict):
    """What failed and waits for a decision: by error and type, and by the record that most refusals name."""

    errors: list[FailureGroupDict]
    records: list[RecordFailuresDict]


class ActionDict(TypedDict):
    """An action of a request, with its answer; `asked` are the pairs of ids that a read asked for."""

    action: str
    relationtype: str
    parentid: list[int]
    childid: list[int]
    relationinfo: dict[str, str]
    asked: list[list[int]]
    answer: HealthVerdict


class RequestDict(TypedDict):
    """A request to the API."""

    id: str
    at: str
    status: int
    seconds: float
    message: str
    observed: bool
    correlations: list[str]
    actions: list[ActionDict]


class RequestPageDict(TypedDict):
    """Requests, newest first, and the cursor of the next page; null after the last."""

    requests: list[RequestDict]
    next: str | None


class AuditEntryDict(TypedDict):
    """Who did what, when, to how many."""

    at: str
    by: str
    act: str
    what: str
    count: int
    note: str


class AuditPageDict(TypedDict):
    """Audit entries, newest first, and the cursor of the next page; null after the last."""

    deeds: list[AuditEntryDict]
    next: str | None


class PauseDict(TypedDict):
    """Why an account is paused; `until` is empty where an operator has to resume it."""

    reason: str
    detail: str
    since: str
    until: str


class PaceDict(TypedDict):
    """The share of an account's full pace, its breaker, and until when nothing is sent."""

    factor: float
    breaker: str
    reason: str
    until: str


class WaitsDict(TypedDict):
    """Why nothing of an account is sent now; `until` is null where somebody has to act, or it is its turn."""

    reason: WaitReason
    message: str
    until: str | None


class AccountDict(TypedDict):
    """An account: its backlog, its jobs by state, its pause, its pace, and why nothing is sent now."""

    account: str
    mode: str
    backlog: int
    oldest: str | None
    open: int
    jobs: dict[str, int]
    unresolved: int
    failed: int
    succeeded: int
    superseded: int
    accepted: int
    paused: PauseDict | None
    pace: PaceDict
    waits: WaitsDict | None


class KeyDict(TypedDict):
    """A key: what it may do, for which accounts."""

    name: str
    can: list[str]
    accounts: list[str]


class AccountsDict(TypedDict):
    """The key, its accounts in the order of the settings, and the sums of their numbers by name."""

    accounts: list[AccountDict]
    key: KeyDict
    totals: dict[str, int]


class WorkerDict(TypedDict):
    """A worker, how many processes it has, and when its last heartbeat was."""

    name: str
    hostname: str
    pid: int
    concurrency: int
    version: str
    at: str
    alive: bool


class SweepDict(TypedDict):
    """When the last sweep was, how many there were, and how many lost wake-ups they repaired."""

    at: str | None
    made: int
    repaired: int


class FindingDict(TypedDict):
    """The result of a check: of what, how it is (`ok`, `warn`, `fail`), and what to do about it."""

    what: str
    level: str
    text: str
    todo: str


class HealthReportDict(TypedDict):
    """How all is, which is the worst of what was found (`ok`, `warn`, `fail`); workers and the sweep."""

    verdict: str
    findings: list[FindingDict]
    workers: list[WorkerDict]
    sweep: SweepDict


class HistoryBucketDict(TypedDict):
    """What happened in a bucket that began `at`; `waiting` changes were in the inbox when it began."""

    at: str
    accepted: int
    actions: int
    requests: int
    applied: int
    superseded: int
    stale: int
    failed: int
    waiting: int


class HistoryDict(TypedDict):
    """What an account did over the last day; a bucket lasts until the next one, the last until now."""

    account: str
    seconds: int
    buckets: list[HistoryBucketDict]


class RelationOutcomeDict(TypedDict):
    """What became of one relation of a job; `outcome` is null where that is not remembered any more."""

    parentid: int
    childid: int
    outcome: str | None
    by: str | None
    request: str | None
    error: ErrorFact | None
    dismissed_by: str | None


class RelationOutcomesDict(TypedDict):
    """The relations of a job, in the order of its ids."""

    relations: list[RelationOutcomeDict]


class FindingsDict(TypedDict):
    """The results of checking an account."""

    findings: list[FindingDict]


class PayloadDict(TypedDict):
    """An unreadable message: its body in base64, cut if it is shorter than `size`, and what is wrong."""

    body: str
    size: int
    faults: list[str]


class PausedDict(TypedDict):
    """Whether an account is paused now; when it was resumed also how it stood before."""

    account: str
    paused: bool
    was_paused: NotRequired[bool]
    breaker_was: NotRequired[str]
    pace_was: NotRequired[float]
    did: NotRequired[list[str]]  # with the breaker and the pace, in sentences


class ActedDict(TypedDict):
    """Which jobs were acted on, or would be; the others with the reason; and whether there are more."""

    dry_run: bool
    jobs: list[str]
    refused: dict[str, str]
    more: bool
    summary: str


class DriftedDict(RelationDict):
    """A relation that the CRM shows otherwise than it was last confirmed, for a change and its job.

    `missing`: it was confirmed to be there; `returned`: it was confirmed to be gone.
    """

    state: DriftState
    occurred_at: str
    job: str
    read_at: str


class DriftPageDict(TypedDict):
    """What the CRM says of one page of what was confirmed; with `waits`, why nothing of it was read yet.

    Of `seen` relations (of `total` remembered ones), `same` are as confirmed, `open` ones are being worked or
    in doubt, and of the `unknown` ones no answer says how they are.
    """

    total: int
    seen: int
    same: int
    drifted: list[DriftedDict]
    unknown: list[RelationDict]
    open: int
    next: str | None
    waits: str | None
    rest: float


class PlanDict(TypedDict):
    """What a replay would send: counts, the first of its actions, and whether the plan covers all of it."""

    requests: NotRequired[int]
    actions: NotRequired[int]
    creates: NotRequired[int]
    modifies: NotRequired[int]
    deletes: NotRequired[int]
    look_ups: NotRequired[int]  # jobs whose records are looked up first: what they come to is not counted
    listed: NotRequired[list[dict[str, Any]]]
    whole: NotRequired[bool]


class ReplayDict(TypedDict):
    """A replay: what would be sent, or how far it is; `became` counts its jobs by what they are now.

    A `repair` sends new changes, which ask once more for what was confirmed and has drifted.
    """

    id: str
    account: str
    by: str
    what: str
    forced: bool
    correction: dict[str, Any]
    eligible: int
    relations: int
    refused: dict[str, int]
    examples: dict[str, str]
    paused: str
    more: bool
    plan: PlanDict
    accounts: list[str]
    repair: bool
    state: ReplayState
    made_at: str | None
    run_at: str | None
    finished_at: str | None
    done: int
    back: int
    missed: dict[str, int]
    became: NotRequired[dict[str, int]]


class ReplaysDict(TypedDict):
    """The replays of the last week, newest first."""

    replays: list[ReplayDict]


class ErasedDict(TypedDict):
    """How many things a record was taken out of, by kind; and the document of what was done."""

    account: str
    erased: dict[str, int]
    proof: ErasureProof


class RuleTraceDict(TypedDict):
    """What a rule did with a payload; `found` are the values, as JSON, that its `when` looked at in vain."""

    rule: str
    outcome: RuleOutcome
    jobs: list[str]
    when: str | None
    found: dict[str, str]
    elements: int
    faults: list[str]


class DeliveryDict(TypedDict):
    """A delivery to a webhook; `message` is what its event ids begin with, `cut` whether not all is kept."""

    id: str
    source: str
    outcome: DeliveryOutcome
    reason: str | None
    faults: list[str]
    accounts: list[str]
    jobs: list[str]
    rules: list[RuleTraceDict]
    message: str
    size: int
    cut: bool
    at: str
    first_at: str
    times: int


class DeliveryPageDict(TypedDict):
    """Deliveries, newest first, and the cursor of the next page; null after the last."""

    deliveries: list[DeliveryDict]
    next: str | None


class DeliveryPayloadDict(TypedDict):
    """A request as it is kept, in base64: its head, an empty line, and its body; cut if that says so."""

    request: str
    size: int
    cut: bool


class RemappedChangeDict(TypedDict):
    """A change that a rule makes; one that is not `new` is that job, which stays if the change `differs`."""

    rule: str
    change: dict[str, Any]
    job: str | None
    new: bool
    differs: bool


class RemappedDict(TypedDict):
    """A delivery by today's rules: what it `was` and is `now`, or why it was skipped."""

    id: str
    was: DeliveryOutcome | None
    skipped: SkipReason | None
    now: DeliveryDict | None
    changes: list[RemappedChangeDict]


class RedeliveredDict(RemappedDict):
    """What became of a delivery, or would; nothing was done if it was a `dry_run`."""

    dry_run: bool


class RemappedPageDict(TypedDict):
    """What became of deliveries, or would; `next` is the cursor for those after them."""

    dry_run: bool
    deliveries: list[RemappedDict]
    next: str | None


class CallbackMessageDict(TypedDict):
    """A message of a callback: the counts that it tells, and how far it is.

    `status` and `error` are of the last attempt, 0 and empty before it.
    """

    id: str
    account: str
    callback: str
    batch: str
    accepted: int
    succeeded: int
    superseded: int
    failed: int
    state: MessageState
    attempts: int
    made_at: str
    tried_at: str | None
    next_at: str | None
    ended_at: str | None
    status: int
    error: str


class CallbackMessagePageDict(TypedDict):
    """Messages of callbacks, newest first, and the cursor of the next page; null after the last."""

    messages: list[CallbackMessageDict]
    next: str | None


class CallbackTestDict(TypedDict):
    """Whether a callback took a message that nobody waits for: its HTTP status, or why there is none."""

    callback: str
    taken: bool
    status: int
    error: str
