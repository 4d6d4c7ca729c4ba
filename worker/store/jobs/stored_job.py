"""A job as it is stored, what it says of itself, and what indexes and counters know of it. Pure."""

import struct
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from worker.contract import Module, Reference, Relation, Side
from worker.errors import StoreUnreadable
from worker.planner.fold import RESULTS
from worker.ports.erasure import ERASED
from worker.ports.records import Dismissal, Failure, JobState
from worker.ports.work import ClaimedJob

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
QUEUED, SENDING, RETRYING, VERIFYING, SUCCEEDED, SUPERSEDED, FAILED, HELD, PARKED = range(len(STATES))
NUMBER_OF: Final = {state: number for number, state in enumerate(STATES)}
ACTIONS: Final = {"create": "c", "modify": "m", "delete": "d", "replace": "r", "": ""}
ACTION_OF: Final = {letter: action for action, letter in ACTIONS.items()}
COUNTED: Final = frozenset({"sending", "retrying", "verifying", "held", "parked"})  # the queue counts its own
SIDES: Final[Mapping[str, Side]] = {"p": "parent", "c": "child"}
TO_BE_READ, READ, TO_BE_READ_FIRST = 1, 2, 3
"""The phases of a replace, but for the usual first, in which it creates."""
UNKNOWN_REFUSAL: Final = (0, "other", "", "")
"""Of a failure that nothing is known about."""
NO_EVENT: Final = "\0"
"""Stands for an event id that was erased; an empty one is the job's own id."""
HEAD: Final = struct.Struct(">QQ")  # accepted_at (µs) and acceptance number, which the script knows
HEAD_SIZE: Final = HEAD.size
NUMBERS: Final = {result: number for number, result in enumerate(RESULTS)}  # of outcomes
NO_GROUPS: Final = frozenset[str]()
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
    or c), and goes through phases: it creates, waits for a read of what else is there, and removes that. One
    that is read first creates and removes at once. `named` is how many records of that side it names, once
    what it has found follows them.
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
    named: int = 0

    @property
    def awaits_read(self) -> bool:
        """Whether it is a replace of which what is there is still to be read."""
        return self.phase in (TO_BE_READ, TO_BE_READ_FIRST)

    @property
    def not_ended(self) -> int:
        """The number of its relations without an outcome before a flush takes it; a read to come is one."""
        return 1 if self.phase == TO_BE_READ else self.size + self.awaits_read

    @property
    def size(self) -> int:
        """The number of its relations, as far as is known while records are still to be found."""
        if not self.references:  # nearly always
            return len(self.parents) * len(self.children)
        is_resolved = all(each.record for each in self.references)
        sides = [] if is_resolved else [each.side for each in self.references]
        return (len(self.parents) + sides.count("p")) * (len(self.children) + sides.count("c"))

    @property
    def undecided(self) -> list[tuple[str, int]]:
        """The failed relations that wait for a decision, with the places of their refusals."""
        decided = {name for name, _, _, _ in self.decided}
        return [pair for pair in zip(self.failed, self.refused, strict=True) if pair[0] not in decided]


_decode = msgspec.msgpack.Decoder(StoredJob).decode
COMMON: Final = StoredJob.__struct_fields__.index("refusal")  # fields that every job has
UNUSED: Final = astuple(StoredJob())[COMMON:]
"""The others of a job that has not failed, names nothing by a reference, and stands in for no other one."""


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
        if value.failed and len(value.refused) != len(value.failed):
            value.refusals = ((value.refusal or UNKNOWN_REFUSAL)[:3],)
            value.refused = (0,) * len(value.failed)

    @classmethod
    def read(cls, short: str, text: bytes, *, is_kept: bool) -> "LoadedJob":
        """Read a job; raise StoreUnreadable for what is none."""
        try:
            accepted_at, number = HEAD.unpack_from(text)
            value = _decode(text[HEAD_SIZE:])
        except (struct.error, msgspec.MsgspecError) as error:
            raise StoreUnreadable(f"what is stored of job {short} cannot be read") from error
        if value.total < 0:
            value.total = value.left = value.size
        return cls(short, accepted_at, number, value, is_kept=is_kept, size=len(text))

    def encode(self) -> bytes:
        """Encode the job, without the last fields if they are as they were at acceptance."""
        values = astuple(self.value)
        body = values[:COMMON] if values[COMMON:] == UNUSED else values
        return HEAD.pack(self.accepted_at, self.number) + _pack(body)

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
        return v.awaits_read or (v.references != () and any(not each.record for each in v.references))

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
        refusals = {v.refusals[place][:2] for _, place in v.undecided}
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
        """Return the relations that are left to do of a job in the queue, as far as they are known."""
        v = self.value
        if v.phase == TO_BE_READ:
            return ()
        if v.again:
            return tuple(map(Relation.parse, v.again))
        return self.all_relations()

    def all_relations(self) -> tuple[Relation, ...]:
        """Return every relation that it names."""
        v = self.value
        if len(v.parents) == 1 == len(v.children):  # nearly always
            return (Relation(v.type, v.parents[0], v.children[0]),)
        return tuple([Relation(v.type, parent, child) for parent in v.parents for child in v.children])

    def removals(self) -> tuple[Relation, ...]:
        """Return the relations that a replace has found and removes."""
        v = self.value
        if v.phase != READ:
            return ()
        if v.replaces == "p":
            return tuple([Relation(v.type, found, v.children[0]) for found in v.parents[v.named :]])
        return tuple([Relation(v.type, v.parents[0], found) for found in v.children[v.named :]])

    def as_claimed(self, account: str, relations: tuple[Relation, ...]) -> ClaimedJob:
        """Return the job as a flush reads it, for these of its relations."""
        v = self.value
        action: Any = ACTION_OF[v.action]
        claimed = ClaimedJob(
            f"{account}-{self.short}",
            action,
            relations,
            tuple(sorted(v.info.items())) if v.info else (),
            self.occurred_at,
            self.number,
            0 if v.again else self.accepted_at,
            v.correlation,
            v.allow_empty,
        )
        if not v.replaces:
            return claimed
        removes = frozenset(self.removals())
        return msgspec.structs.replace(claimed, action="create", reads_first=True, removes=removes)


class IndexedState(msgspec.Struct, frozen=True, gc=False):
    """What indexes and counters know of a job: its state, its outcomes, and the groups of its failures."""

    state: int
    counts: tuple[int, int, int, int]
    is_open: bool
    groups: frozenset[str]

    @classmethod
    def of(cls, job: LoadedJob) -> "IndexedState":
        """Return what they are to know of a job now."""
        v = job.value
        return cls(v.state, v.counts, v.left > 0, job.groups if v.state == FAILED else NO_GROUPS)


def count_step(before: IndexedState, after: IndexedState, times: int, totals: Counter[str]) -> None:
    """Count so many jobs that went from here to there: open states as they are, what ended as it comes.

    The queue counts its own.
    """
    for state, by in ((before.state, -times), (after.state, times)):
        if before.state != after.state and state != QUEUED:
            totals[STATES[state]] += by
    for counter, known, found in zip(OUTCOME_COUNTERS.values(), before.counts, after.counts, strict=True):
        if known != found:
            totals[counter] += times * (found - known)
