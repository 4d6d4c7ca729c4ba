"""A job as it is stored, and all that can happen to one. Pure: times, outcomes and ids are arguments."""

from collections import Counter
from collections.abc import Sequence
from struct import Struct as Layout
from typing import Final

import msgspec

from worker.contract import Relation
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import RESULTS
from worker.ports import (
    CANCELLED,
    ERASED,
    ClaimedJob,
    Dismissal,
    JobFilter,
    JobRecord,
    JobState,
    RecordRef,
    Submission,
)
from worker.store.keys import delivery, event, short_id
from worker.store.limits import MAX_FAULT_LENGTH, REQUEST_IDS_LENGTH, Retention

STATES: Final[tuple[JobState, ...]] = (
    "queued",
    "sending",
    "retrying",
    "verifying",
    "succeeded",
    "superseded",
    "failed",
    "held",
)
"""The states by the number that is stored."""
ACTIONS: Final = {"create": "c", "modify": "m", "delete": "d", "": ""}
ACTION_OF: Final = {letter: action for action, letter in ACTIONS.items()}
COUNTED: Final = frozenset({"sending", "retrying", "verifying", "held"})  # the queue counts its own
HEAD: Final = Layout(">QQ")  # accepted_at (µs) and acceptance number, which the script knows
HEAD_SIZE: Final = HEAD.size
NUMBERS: Final = {result: number for number, result in enumerate(RESULTS)}
OUTCOME_COUNTERS: Final = {result: f"relations_{result}" for result in RESULTS}

_pack = msgspec.msgpack.Encoder().encode


class StoredJob(msgspec.Struct, array_like=True, gc=False):
    """What is stored of a job after its head. New fields come at the end.

    Times in µs; 0 of `occurred_at` stands for the time of acceptance, -1 of `left` and `total` for all
    relations. `left` counts relations without an outcome, `again` names them where it is a part. `counts` are
    those of `RESULTS`.
    """

    action: str = ""
    type: str = ""
    parents: tuple[int, ...] = ()
    children: tuple[int, ...] = ()
    occurred_at: int = 0
    digest: bytes = b""
    event_id: str = ""
    info: dict[str, str] | None = None
    source: str = ""
    batch: str = ""
    correlation: str = ""
    allow_empty: bool = False
    state: int = 0
    finished_at: int = 0
    expires: int = 0
    left: int = -1
    total: int = -1
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    attempts: int = 0
    requests: tuple[str, ...] = ()
    by: str = ""
    refusal: tuple[int, str, str, str] | None = None
    failed: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    requeued_at: int = 0
    dismissed: tuple[int, str, str] | None = None
    replays: str = ""
    replayed_by: tuple[str, ...] = ()
    replay: str = ""


ACCEPTED_FIELDS: Final = StoredJob.__struct_fields__.index("state")
COMMON_FIELDS: Final = StoredJob.__struct_fields__.index("refusal")
_decode = msgspec.msgpack.Decoder(StoredJob).decode


class LoadedJob(msgspec.Struct, gc=False):
    """A job that was read: its id without the account, its head, its value, and where it is stored."""

    short: str
    accepted_at: int
    number: int
    value: StoredJob
    is_kept: bool
    is_claimed: bool = False

    @classmethod
    def read(cls, short: str, text: bytes, *, is_kept: bool) -> "LoadedJob":
        """Read a job."""
        accepted_at, number = HEAD.unpack_from(text)
        value = _decode(text[HEAD_SIZE:])
        if value.total < 0:
            value.total = value.left = len(value.parents) * len(value.children)
        return cls(short, accepted_at, number, value, is_kept=is_kept)

    def encode(self) -> bytes:
        """Encode the job, without the last fields if they are as they were at acceptance."""
        v = self.value
        common = (
            v.action,
            v.type,
            v.parents,
            v.children,
            v.occurred_at,
            v.digest,
            v.event_id,
            v.info,
            v.source,
            v.batch,
            v.correlation,
            v.allow_empty,
            v.state,
            v.finished_at,
            v.expires,
            v.left,
            v.total,
            v.counts,
            v.attempts,
            v.requests,
            v.by,
        )
        is_rare = v.refusal or v.failed or v.again or v.requeued_at or v.dismissed or v.replays or v.replay
        body = _pack(v) if is_rare or v.replayed_by else _pack(common)
        return HEAD.pack(self.accepted_at, self.number) + body

    @property
    def state(self) -> JobState:
        """What it is doing: what a flush has claimed is being sent."""
        return STATES[SENDING if self.is_claimed and self.value.state == QUEUED else self.value.state]

    @property
    def is_queued(self) -> bool:
        """Whether it waits in the queue."""
        return self.value.state == QUEUED and not self.is_claimed

    @property
    def is_open(self) -> bool:
        """Whether it has relations without an outcome."""
        return self.value.left > 0

    def is_gone(self, now: int) -> bool:
        """Return whether its lifetime is over."""
        return 0 < self.value.expires <= now

    @property
    def occurred_at(self) -> int:
        """When it is to count (µs): never later than it was accepted."""
        return min(self.value.occurred_at or self.accepted_at, self.accepted_at)

    @property
    def waits_for_decision(self) -> bool:
        """Whether it failed, and was neither dismissed nor emptied."""
        v = self.value
        return v.state == FAILED and not v.dismissed and v.by != ERASED and bool(v.failed or not v.total)

    @property
    def group(self) -> str:
        """The group of failures it belongs to: `<code> <class> <type>`."""
        code, error = self.value.refusal[:2] if self.value.refusal else (0, "other")
        return f"{code} {error} {self.value.type}"

    def relations(self) -> tuple[Relation, ...]:
        """Return the relations that are left to do of a job in the queue."""
        v = self.value
        if v.again:
            return tuple(map(Relation.parse, v.again))
        return self.all_relations()

    def all_relations(self) -> tuple[Relation, ...]:
        """Return every relation that it names."""
        v = self.value
        if len(v.parents) == 1 == len(v.children):  # nearly always
            return (Relation(v.type, v.parents[0], v.children[0]),)
        return tuple([Relation(v.type, parent, child) for parent in v.parents for child in v.children])

    def as_claimed(self, account: str, relations: tuple[Relation, ...]) -> ClaimedJob:
        """Return the job as a flush reads it, for these of its relations."""
        v = self.value
        return ClaimedJob(
            f"{account}-{self.short}",
            ACTION_OF[v.action],  # type: ignore[arg-type]
            relations,
            tuple(sorted(v.info.items())) if v.info else (),
            self.occurred_at,
            self.number,
            0 if v.again else self.accepted_at,
            v.correlation,
            v.allow_empty,
        )

    def as_record(self, account: str) -> JobRecord:
        """Return the job as people see it."""
        v = self.value
        return JobRecord(
            id=f"{account}-{self.short}",
            account=account,
            state=self.state,
            action=ACTION_OF[v.action],
            type=v.type,
            parents=v.parents,
            children=v.children,
            info=tuple(sorted(v.info.items())) if v.info else (),
            source=v.source,
            event_id="" if v.event_id == NO_EVENT else v.event_id or self.short,
            batch=v.batch,
            occurred_at=self.occurred_at,
            accepted_at=self.accepted_at,
            finished_at=v.finished_at,
            attempts=v.attempts,
            total=v.total,
            counts=dict(zip(RESULTS, v.counts, strict=True)),
            refusal=v.refusal,
            requests=v.requests,
            failed=tuple(map(Relation.parse, v.failed)),
            by=v.by,
            number=self.number,
            dismissed=Dismissal(*v.dismissed) if v.dismissed else None,
            replays=v.replays,
            replayed_by=v.replayed_by,
            replay=v.replay,
            correlation=v.correlation,
            allow_empty=v.allow_empty,
        )

    def matches(self, wanted: JobFilter) -> bool:
        """Return whether it is what a list asks for."""
        v = self.value
        code, error = v.refusal[:2] if v.refusal else (0, "other")
        return (
            wanted.state in ("", self.state)
            and wanted.type in ("", v.type)
            and (not wanted.parent or wanted.parent in v.parents)
            and (not wanted.child or wanted.child in v.children)
            and (not wanted.error or (v.state == FAILED and wanted.error in (str(code), error)))
            and wanted.source in ("", v.source)
            and wanted.batch in ("", v.batch)
            and wanted.since <= self.accepted_at
            and (not wanted.until or self.accepted_at < wanted.until)
            and wanted.failed_since <= v.finished_at
            and (not wanted.failed_until or v.finished_at < wanted.failed_until)
        )


QUEUED, SENDING, RETRYING, VERIFYING, SUCCEEDED, SUPERSEDED, FAILED, HELD = range(len(STATES))
NUMBER_OF: Final = {state: number for number, state in enumerate(STATES)}
NO_EVENT: Final = "\0"
"""Stands for an event id that was erased; an empty one is the job's own id."""


def encode_submission(entry: Submission) -> tuple[str, bytes, bytes]:
    """Return the id, the event's digest and the value of a new job, without the head that the script adds."""
    change, short = entry.change, short_id(entry.job)
    digest = (delivery if change.delivered else event)(change.source, entry.event_id)
    value = (
        ACTIONS[change.action],
        change.type,
        change.parents,
        change.children,
        # 0 stands for the time of acceptance
        0 if change.occurred_at is None else max(1, change.occurred_at),
        digest,
        "" if entry.event_id == short else entry.event_id,
        dict(change.info) if change.info else None,
        change.source,
        change.batch,
        change.correlation,
        change.allow_empty,
    )
    return short, digest, _pack(value)


def unreadable_job(
    short: str,
    number: int,
    fault: str,
    *,
    source: str,
    event_id: str,
    digest: bytes,
    now: int,
    keep: Retention,
) -> LoadedJob:
    """Return the failed job that stands for an unreadable message."""
    value = StoredJob(
        digest=digest,
        event_id="" if event_id == short else event_id,
        source=source,
        state=FAILED,
        finished_at=now,
        expires=now + to_us(keep.failed),
        left=0,
        total=0,
        refusal=(0, "unreadable", fault[:MAX_FAULT_LENGTH], ""),
    )
    return LoadedJob(short, now, number, value, is_kept=True)


# --- transitions: each changes the job, and adds to the account's totals


def claim(job: LoadedJob) -> None:
    """Let the job leave the queue."""
    job.value.state, job.value.again = SENDING, ()


def settle(
    job: LoadedJob,
    outcomes: Sequence[RelationOutcome],
    state: JobState | None,
    request_id: str,
    totals: Counter[str],
    *,
    now: int,
    keep: Retention,
) -> bool:
    """Count a job's outcomes and set its state; the last outcome ends it. Return False if it had ended."""
    v = job.value
    if not v.left:
        return False
    before, counts = v.state, list(v.counts)
    for outcome in outcomes:
        result, refusal = outcome.result, outcome.refusal
        counts[NUMBERS[result]] += 1
        totals[OUTCOME_COUNTERS[result]] += 1
        if outcome.by:
            v.by = outcome.by
        if result == "failed":
            totals[f"failures:{refusal.error if refusal else 'other'}"] += 1
            v.failed = (*v.failed, str(outcome.relation))
            if refusal and not v.refusal:
                v.refusal = (*refusal, str(outcome.relation))
    was_sent = state or counts[0] > v.counts[0] or counts[3] > v.counts[3]
    v.counts = (counts[0], counts[1], counts[2], counts[3])
    v.left -= len(outcomes)
    if request_id and was_sent and request_id not in v.requests:
        v.requests = _latest_that_fit((*v.requests, request_id)) if v.requests else (request_id,)
        v.attempts += state != "queued"  # a dry run of a queued job is no attempt
    if v.left <= 0:
        _end(job, totals, now=now, keep=keep)
    elif state:
        v.state = NUMBER_OF[state]
    if v.state != before:
        _move_state_count(totals, STATES[before], STATES[v.state])
    return True


def end_in_queue(
    job: LoadedJob, by: str, totals: Counter[str], *, now: int, keep: Retention
) -> list[RelationOutcome]:
    """End a job that waits in the queue; return the outcomes of what was left of it."""
    account_free = job.short
    outcomes = [RelationOutcome(account_free, relation, "superseded", by) for relation in job.relations()]
    supersede(job, len(outcomes), by, totals)
    job.value.again = ()
    _end(job, totals, now=now, keep=keep)
    return outcomes


def supersede(job: LoadedJob, count: int, by: str, totals: Counter[str]) -> None:
    """Count relations of a job in the queue as superseded."""
    v = job.value
    v.counts = (v.counts[0], v.counts[1] + count, v.counts[2], v.counts[3])
    v.left, v.by = v.left - count, by
    totals["relations_superseded"] += count


def can_be_requeued(job: LoadedJob, since: int) -> bool:
    """Return whether it has failed relations, and was not dismissed after `since` (µs)."""
    v = job.value
    return v.state == FAILED and bool(v.failed) and not (v.dismissed and v.dismissed[0] > since)


def requeue(job: LoadedJob, mark: str, totals: Counter[str], *, now: int) -> None:
    """Put a failed job back with only its failed relations to do; erased failures end superseded."""
    v = job.value
    failures, left = v.counts[3], len(v.failed)
    erased = failures - left
    v.counts = (v.counts[0], v.counts[1] + erased, v.counts[2], 0)
    v.state, v.left, v.again, v.requeued_at = QUEUED, left, v.failed, now
    v.failed, v.refusal, v.finished_at, v.expires, v.dismissed, v.replayed_by = (), None, 0, 0, None, ()
    v.replay = mark or v.replay
    totals.update({"failed": -1, "relations_failed": -failures})
    if erased:
        totals["relations_superseded"] += erased


def erase(job: LoadedJob, who: RecordRef) -> bool:
    """Take the record from a job whose open work about it has ended; return whether nothing is left of it."""
    v = job.value
    v.parents = tuple(each for each in v.parents if not who.is_on("p", v.type, each))
    v.children = tuple(each for each in v.children if not who.is_on("c", v.type, each))
    v.failed = _without(v.failed, who)
    v.again = _without(v.again, who)
    v.event_id = NO_EVENT
    if v.refusal:
        v.refusal = (v.refusal[0], v.refusal[1], "", "")
    if v.parents and v.children:
        return False
    v.parents, v.children, v.failed, v.again, v.info, v.by = (), (), (), (), None, ERASED
    return True


def is_cancelled(job: LoadedJob) -> bool:
    """Return whether a person has cancelled it."""
    return job.value.by == CANCELLED


def to_us(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return round(seconds * 1_000_000)


def _end(job: LoadedJob, totals: Counter[str], *, now: int, keep: Retention) -> None:
    v = job.value
    v.state = FAILED if v.counts[3] else SUCCEEDED if v.counts[0] else SUPERSEDED
    v.left, v.finished_at = 0, now
    v.expires = now + to_us(keep.failed if v.state == FAILED else keep.finished)
    totals[STATES[v.state]] += 1


def _move_state_count(totals: Counter[str], before: str, after: str) -> None:
    """Count open states as they are; ended ones are counted as they come."""
    if before in COUNTED:
        totals[before] -= 1
    if after in COUNTED:
        totals[after] += 1


def _latest_that_fit(request_ids: tuple[str, ...]) -> tuple[str, ...]:
    while len(" ".join(request_ids)) > REQUEST_IDS_LENGTH:
        request_ids = request_ids[1:]
    return request_ids


def _without(names: tuple[str, ...], who: RecordRef) -> tuple[str, ...]:
    return tuple(name for name in names if not who.is_part_of(Relation.parse(name)))
