"""A job as it is stored, and all that can happen to one. Pure: times, outcomes and ids are arguments."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from struct import Struct as Layout
from typing import Final

import msgspec

from worker.contract import Change, Module, Reference, Relation
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import RESULTS
from worker.ports import (
    CANCELLED,
    ERASED,
    REPLACED,
    ClaimedJob,
    Dismissal,
    Failure,
    JobFilter,
    JobRecord,
    JobReference,
    JobState,
    Parking,
    RecordRef,
    Side,
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
    "parked",
)
"""The states by the number that is stored."""
ACTIONS: Final = {"create": "c", "modify": "m", "delete": "d", "replace": "r", "": ""}
ACTION_OF: Final = {letter: action for action, letter in ACTIONS.items()}
COUNTED: Final = frozenset({"sending", "retrying", "verifying", "held", "parked"})  # the queue counts its own
SIDES: Final[Mapping[str, Side]] = {"p": "parent", "c": "child"}
HEAD: Final = Layout(">QQ")  # accepted_at (µs) and acceptance number, which the script knows
HEAD_SIZE: Final = HEAD.size
NUMBERS: Final = {result: number for number, result in enumerate(RESULTS)}
OUTCOME_COUNTERS: Final = {result: f"relations_{result}" for result in RESULTS}

_pack = msgspec.msgpack.Encoder().encode


class StoredReference(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A reference of a job as it is stored: side (p, c), module, fields; then what is known of it by now."""

    side: str
    module: Module
    fields: tuple[tuple[str, str], ...]
    record: int = 0
    asked_at: int = 0
    candidates: tuple[int, ...] = ()
    by: str = ""

    @property
    def reference(self) -> Reference:
        """The reference itself."""
        return Reference(self.module, self.fields)


class StoredJob(msgspec.Struct, array_like=True, gc=False):
    """What is stored of a job after its head. New fields come at the end.

    Times in µs; 0 of `occurred_at` stands for the time of acceptance, -1 of `left` and `total` for all
    relations. `left` counts relations without an outcome, `again` names them where it is a part. `counts` are
    those of `RESULTS`. `refused` says of each `failed` relation which of `refusals` is its own; releases that
    know neither wrote the first `refusal` alone. `decided` are failed relations that need no decision any
    more: name, when, by whom, and why; `dismissed` is the same of the whole job. Records of `references` are
    among the ids once they were found; `parked` is since when it waits for that, until when, after how many
    look-ups, why, and how many of them the API did not answer. A replace has the side that it `replaces` (p
    or c), and goes through phases: it creates, waits for a read of what else is there, and removes that.
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
    refusals: tuple[tuple[int, str, str], ...] = ()
    refused: tuple[int, ...] = ()
    decided: tuple[tuple[str, int, str, str], ...] = ()
    references: tuple[StoredReference, ...] = ()
    parked: tuple[int, int, int, str, int] | None = None
    replaces: str = ""
    phase: int = 0

    @property
    def size(self) -> int:
        """The number of its relations, as far as is known while records are still to be found."""
        if not self.references:  # nearly always
            return len(self.parents) * len(self.children)
        is_resolved = all(each.record for each in self.references)
        sides = [] if is_resolved else [each.side for each in self.references]
        return (len(self.parents) + sides.count("p")) * (len(self.children) + sides.count("c"))


ACCEPTED_FIELDS: Final = StoredJob.__struct_fields__.index("state")
COMMON_FIELDS: Final = StoredJob.__struct_fields__.index("refusal")
_decode = msgspec.msgpack.Decoder(StoredJob).decode


class LoadedJob(msgspec.Struct, gc=False):
    """A job that was read: its id without the account, its head, its value, where it is stored, its size."""

    short: str
    accepted_at: int
    number: int
    value: StoredJob
    is_kept: bool
    size: int = 0
    is_claimed: bool = False
    is_sent: bool = False

    def __post_init__(self) -> None:
        value = self.value
        if len(value.refused) != len(value.failed):
            value.refusals = ((value.refusal or UNKNOWN_REFUSAL)[:3],)
            value.refused = (0,) * len(value.failed)

    @classmethod
    def read(cls, short: str, text: bytes, *, is_kept: bool) -> "LoadedJob":
        """Read a job."""
        accepted_at, number = HEAD.unpack_from(text)
        value = _decode(text[HEAD_SIZE:])
        if value.total < 0:
            value.total = value.left = value.size
        return cls(short, accepted_at, number, value, is_kept=is_kept, size=len(text))

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
        is_looked_up = v.references or v.replaces
        body = _pack(v) if is_rare or is_looked_up or v.replayed_by else _pack(common)
        return HEAD.pack(self.accepted_at, self.number) + body

    @property
    def state(self) -> JobState:
        """What it is doing: what a flush has taken is held, but while a request with it is under way."""
        if self.is_taken:
            return "sending" if self.is_sent else "held"
        return STATES[self.value.state]

    @property
    def is_taken(self) -> bool:
        """Whether a flush has taken it out of the queue, and nothing has come of that yet."""
        is_claimed = self.is_claimed and self.value.state == QUEUED and not self.is_unresolved
        return self.value.state == SENDING or is_claimed

    @property
    def is_queued(self) -> bool:
        """Whether it waits in the queue."""
        return self.value.state == QUEUED and not self.is_claimed

    @property
    def is_unresolved(self) -> bool:
        """Whether a record that it names is still to be found, or what a replace has to remove."""
        v = self.value
        return v.phase == TO_BE_READ or (v.references != () and any(not each.record for each in v.references))

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
        """Whether it failed, and a failure of it was neither dismissed nor erased."""
        return bool(self.groups)

    @property
    def has_failed_as_a_whole(self) -> bool:
        """Whether it failed before it had relations to fail with: it was unreadable, or lacked a read."""
        return self.value.state == FAILED and not self.value.counts[3]

    @property
    def groups(self) -> frozenset[str]:
        """The groups of its failures that wait for a decision: `<code> <class> <type>`."""
        v = self.value
        if v.state != FAILED or v.dismissed or v.by == ERASED:
            return frozenset()
        refusals = {v.refusals[place][:2] for _, place in _undecided(v)}
        if self.has_failed_as_a_whole:
            refusals.add((v.refusal or UNKNOWN_REFUSAL)[:2])
        return frozenset(f"{code} {error} {v.type}" for code, error in refusals)

    def failures(self) -> tuple[Failure, ...]:
        """Return the relations that failed, each with its refusal and what was decided about it."""
        v = self.value
        decided = {name: Dismissal(at, by, why) for name, at, by, why in v.decided}
        whole = Dismissal(*v.dismissed) if v.dismissed else None
        return tuple(
            Failure(Relation.parse(name), *v.refusals[place], decided.get(name, whole))
            for name, place in zip(v.failed, v.refused, strict=True)
        )

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
        is_replace = bool(v.replaces)
        return ClaimedJob(
            f"{account}-{self.short}",
            ("delete" if v.phase == REMOVES else "create") if is_replace else ACTION_OF[v.action],  # type: ignore[arg-type]
            relations,
            tuple(sorted(v.info.items())) if v.info else (),
            self.occurred_at,
            self.number,
            0 if v.again else self.accepted_at,
            v.correlation,
            v.allow_empty,
            is_replace and v.phase != REMOVES,
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
            failures=self.failures(),
            by=v.by,
            number=self.number,
            dismissed=Dismissal(*v.dismissed) if v.dismissed else None,
            replays=v.replays,
            replayed_by=v.replayed_by,
            replay=v.replay,
            correlation=v.correlation,
            allow_empty=v.allow_empty,
            references=tuple(
                JobReference(SIDES[each.side], each.reference, *msgspec.structs.astuple(each)[3:])
                for each in v.references
            ),
            parked=Parking(*v.parked) if v.parked else None,
            removes=v.phase == REMOVES,
        )

    def matches(self, wanted: JobFilter) -> bool:
        """Return whether it is what a list asks for."""
        v = self.value
        return (
            wanted.state in ("", self.state)
            and wanted.type in ("", v.type)
            and (not wanted.parent or wanted.parent in v.parents)
            and (not wanted.child or wanted.child in v.children)
            and (not (wanted.error or wanted.state == "failed") or self._has_failure(wanted))
            and wanted.source in ("", v.source)
            and wanted.batch in ("", v.batch)
            and (not wanted.event_id or wanted.event_id == (v.event_id or self.short))
            and (not wanted.reference or self._names(wanted.reference))
            and wanted.since <= self.accepted_at
            and (not wanted.until or self.accepted_at < wanted.until)
            and wanted.failed_since <= v.finished_at
            and (not wanted.failed_until or v.finished_at < wanted.failed_until)
        )

    def _names(self, reference: Reference) -> bool:
        """Return whether it names a record by all that a reference says."""
        wanted = {*reference.fields}
        return any(
            each.module == reference.module and wanted <= {*each.fields} for each in self.value.references
        )

    def _has_failure(self, wanted: JobFilter) -> bool:
        """Return whether a failure that waits for a decision is what a list asks for."""
        v = self.value
        if self.has_failed_as_a_whole:
            code, error = (v.refusal or UNKNOWN_REFUSAL)[:2]
            return wanted.error in ("", str(code), error)
        return v.state == FAILED and any(
            failure.dismissed is None and wanted.fits_failure(failure) for failure in self.failures()
        )


QUEUED, SENDING, RETRYING, VERIFYING, SUCCEEDED, SUPERSEDED, FAILED, HELD, PARKED = range(len(STATES))
NUMBER_OF: Final = {state: number for number, state in enumerate(STATES)}
TO_BE_READ, REMOVES = 1, 2
"""The phases of a replace, after the first, in which it creates."""
UNKNOWN_REFUSAL: Final = (0, "other", "", "")
"""Of a failure that nothing is known about."""
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
    if change.replaces or change.parent_references or change.child_references:
        references = (*_stored("p", change.parent_references), *_stored("c", change.child_references))
        phase = 0 if change.replaces == "" or _names_any(change) else TO_BE_READ
        stored = StoredJob(*value, references=references, replaces=change.replaces[:1], phase=phase)
        if phase == TO_BE_READ:
            stored.total = stored.left = 1
        return short, digest, _pack(stored)
    return short, digest, _pack(value)


def needs_look_up(change: Change) -> bool:
    """Return whether something has to be read before the change can be carried out."""
    has_references = bool(change.parent_references or change.child_references)
    return has_references or (bool(change.replaces) and not _names_any(change))


def _names_any(change: Change) -> bool:
    """Return whether the side that a replace is about is to have any record at all."""
    if change.replaces == "parent":
        return bool(change.parents or change.parent_references)
    return bool(change.children or change.child_references)


def _stored(side: str, references: Sequence[Reference]) -> list[StoredReference]:
    return [StoredReference(side, *reference) for reference in references]


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
            _add_failure(v, str(outcome.relation), refusal or UNKNOWN_REFUSAL[:3])
    was_sent = state or counts[0] > v.counts[0] or counts[3] > v.counts[3]
    v.counts = (counts[0], counts[1], counts[2], counts[3])
    v.left -= len(outcomes)
    if request_id and was_sent and request_id not in v.requests:
        v.requests = _latest_that_fit((*v.requests, request_id)) if v.requests else (request_id,)
        v.attempts += state != "queued"  # a dry run of a queued job is no attempt
    if v.left <= 0 and _has_to_remove(v):
        await_read(job)
    elif v.left <= 0:
        end(job, totals, now=now, keep=keep)
    elif state:
        v.state = NUMBER_OF[state]
    if v.state != before:
        _move_state_count(totals, STATES[before], STATES[v.state])
    return True


def _has_to_remove(v: StoredJob) -> bool:
    """Return whether all that a replace names is there now, so that what else there is may go."""
    return bool(v.replaces) and v.phase == 0 and not v.counts[3] and v.by not in (CANCELLED, ERASED)


def await_read(job: LoadedJob) -> None:
    """Let a replace wait for a read of what else is there; that counts as one relation until it is known."""
    v = job.value
    v.phase, v.state, v.again = TO_BE_READ, QUEUED, ()
    v.total, v.left = v.total + 1, 1


def end_in_queue(
    job: LoadedJob, by: str, totals: Counter[str], *, now: int, keep: Retention
) -> list[RelationOutcome]:
    """End a job that waits in the queue; return the outcomes of what was left of it."""
    account_free, before = job.short, job.value.state
    outcomes = [RelationOutcome(account_free, relation, "superseded", by) for relation in job.relations()]
    supersede(job, job.value.left, by, totals)
    job.value.again, job.value.parked = (), None
    end(job, totals, now=now, keep=keep)
    _move_state_count(totals, STATES[before], STATES[job.value.state])
    return outcomes


def supersede(job: LoadedJob, count: int, by: str, totals: Counter[str]) -> None:
    """Count relations of a job in the queue as superseded."""
    v = job.value
    v.counts = (v.counts[0], v.counts[1] + count, v.counts[2], v.counts[3])
    v.left, v.by = v.left - count, by
    totals["relations_superseded"] += count


def failures_to_requeue(job: LoadedJob, since: int, only: Collection[str] = ()) -> tuple[str, ...]:
    """Return the failed relations, of `only` these, that may go back: none dismissed after `since` (µs).

    Without `only`, those that wait for a decision; if none waits, all that were dismissed.
    """
    v = job.value
    if v.state != FAILED or (v.dismissed and v.dismissed[0] > since):
        return ()
    decided_at = {name: at for name, at, _, _ in v.decided}
    if not only and not v.dismissed:
        return tuple(name for name, _ in _undecided(v))
    return tuple(
        name for name in v.failed if (not only or name in only) and decided_at.get(name, since) <= since
    )


def requeue(job: LoadedJob, names: Collection[str], mark: str, totals: Counter[str], *, now: int) -> None:
    """Put a failed job back with only these of its failed relations to do; erased failures end superseded.

    The others stay failed, and what was decided about them stays decided.
    """
    v = job.value
    kept = [(name, place) for name, place in zip(v.failed, v.refused, strict=True) if name not in names]
    back = len(v.failed) - len(kept)
    erased = v.counts[3] - len(v.failed)
    v.counts = (v.counts[0], v.counts[1] + erased, v.counts[2], len(kept))
    v.state, v.left, v.requeued_at = QUEUED, back, now
    v.again = tuple(name for name in v.failed if name in names)
    _decide_all(v, [name for name, _ in kept])
    v.failed, v.refused = tuple(name for name, _ in kept), tuple(place for _, place in kept)
    _show_first_refusal(v)
    v.finished_at, v.expires, v.dismissed = 0, 0, None
    v.replayed_by = v.replayed_by if kept else ()
    v.replay = mark or v.replay
    totals.update({"failed": -1, "relations_failed": -(back + erased)})
    if erased:
        totals["relations_superseded"] += erased


def dismiss(job: LoadedJob, names: Collection[str], at: int, by: str, why: str) -> bool:
    """Dismiss a failed job, or just these of its failed relations; return whether that changed anything."""
    v = job.value
    undecided = {name for name, _ in _undecided(v)}
    chosen = undecided & {*names} if names else undecided
    if v.dismissed or (names and not chosen):
        return False
    if chosen == undecided:
        v.dismissed = (at, by, why)
    if v.decided or chosen != undecided:
        v.decided += tuple((name, at, by, why) for name in v.failed if name in chosen)
    return True


def replace(job: LoadedJob, names: Collection[str], at: int, by: str) -> bool:
    """Dismiss a failed job, or just these of its failed relations, as sent anew; return whether it was news.

    What was dismissed before counts as sent anew too.
    """
    v = job.value
    known = {name for name, _, _, why in v.decided if why == REPLACED}
    wanted = names or (() if v.dismissed else [name for name, _ in _undecided(v)]) or v.failed
    fresh = tuple(name for name in v.failed if name in wanted and name not in known)
    if (v.dismissed and (v.dismissed[2] == REPLACED or not v.failed)) or (v.failed and not fresh):
        return False
    is_simple = not (v.decided or v.dismissed) and fresh == v.failed
    if not v.dismissed and {name for name, _ in _undecided(v)} <= {*fresh}:
        v.dismissed = (at, by, REPLACED)
    if not is_simple:
        others = tuple(entry for entry in v.decided if entry[0] not in fresh)
        v.decided = (*others, *((name, at, by, REPLACED) for name in fresh))
    return True


def erase(job: LoadedJob, who: RecordRef) -> bool:
    """Take the record from a job whose open work about it has ended; return whether nothing is left of it."""
    v, is_emptied = job.value, is_nothing_without(job.value, who)
    (v.parents, v.children), v.references = ids_without(v, who), references_without(v, who)
    kept = _without(v.failed, who)
    v.refused = tuple(place for name, place in zip(v.failed, v.refused, strict=True) if name in kept)
    v.failed, v.again = kept, _without(v.again, who)
    v.decided = tuple(entry for entry in v.decided if entry[0] in kept)
    v.event_id = NO_EVENT
    drop_texts(v)
    if v.refusal:
        v.refusal = (*v.refusal[:3], "")
    if not is_emptied:
        return False
    v.parents, v.children, v.failed, v.refused, v.again, v.info, v.by = (), (), (), (), (), None, ERASED
    v.decided, v.references = (), ()
    return True


def is_nothing_without(v: StoredJob, who: RecordRef) -> bool:
    """Return whether a job is about nothing any more without the record."""
    parents, children = ids_without(v, who)
    named = {each.side for each in references_without(v, who)}
    return not (parents or "p" in named) or not (children or "c" in named)


def ids_without(v: StoredJob, who: RecordRef) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a job's parents and children without the record."""
    parents = tuple(each for each in v.parents if not who.is_on("p", v.type, each))
    return parents, tuple(each for each in v.children if not who.is_on("c", v.type, each))


def references_without(v: StoredJob, who: RecordRef) -> tuple[StoredReference, ...]:
    """Return a job's references without those that led to the record, and without it as a candidate."""
    return tuple(
        msgspec.structs.replace(
            each,
            candidates=tuple(other for other in each.candidates if not who.is_record(each.module, other)),
        )
        for each in v.references
        if not who.is_record(each.module, each.record)
    )


def drop_texts(v: StoredJob) -> None:
    """Drop what the API said of the failures; codes and classes stay."""
    v.refusals = tuple((code, error, "") for code, error, _ in v.refusals)
    if v.refusal:
        v.refusal = (v.refusal[0], v.refusal[1], "", v.refusal[3])


def is_cancelled(job: LoadedJob) -> bool:
    """Return whether it ended because a person has cancelled it."""
    return job.value.by == CANCELLED and not job.is_open


def to_us(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return round(seconds * 1_000_000)


def end(job: LoadedJob, totals: Counter[str], *, now: int, keep: Retention) -> None:
    """End a job by its counts; one that had nothing to do has succeeded."""
    v = job.value
    v.state = FAILED if v.counts[3] else SUCCEEDED if v.counts[0] or not v.total else SUPERSEDED
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


def _undecided(v: StoredJob) -> list[tuple[str, int]]:
    """Return the failed relations that wait for a decision, with the places of their refusals."""
    decided = {name for name, _, _, _ in v.decided}
    return [pair for pair in zip(v.failed, v.refused, strict=True) if pair[0] not in decided]


def _decide_all(v: StoredJob, names: Collection[str]) -> None:
    """Keep what was decided about these relations alone, also if it was about the whole job."""
    decided = tuple(entry for entry in v.decided if entry[0] in names)
    if v.dismissed:
        known = {entry[0] for entry in decided}
        decided += tuple((name, *v.dismissed) for name in names if name not in known)
    v.decided = decided


def _add_failure(v: StoredJob, name: str, refusal: tuple[int, str, str]) -> None:
    if refusal not in v.refusals:
        v.refusals = (*v.refusals, (refusal[0], refusal[1], refusal[2]))
    v.failed, v.refused = (*v.failed, name), (*v.refused, v.refusals.index(refusal))
    if not v.refusal:
        _show_first_refusal(v)


def _show_first_refusal(v: StoredJob) -> None:
    """Let the job show the refusal of its first failure, and forget those that are no failure's any more."""
    refusals = tuple(dict.fromkeys(v.refusals[place] for place in v.refused))
    v.refused = tuple(refusals.index(v.refusals[place]) for place in v.refused)
    v.refusals = refusals
    v.refusal = (*refusals[v.refused[0]], v.failed[0]) if v.failed else None


def _without(names: tuple[str, ...], who: RecordRef) -> tuple[str, ...]:
    return tuple(name for name in names if not who.is_part_of(Relation.parse(name)))
