"""One relation in hand: what is asked of it, what is known of it, how trying went, and what to do about it next.

Pure. `OpenRelation` is what the store keeps while any outcome is missing; a `RelationState` is an open relation joined with its memory.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from worker.contract import Info, Relation
from worker.planner.actions import Kind, Operation
from worker.planner.fold import (
    NEVER,
    NOTHING,
    ConfirmedState,
    Intent,
    JobVersion,
    LostIntent,
    Target,
    confirm,
    fold,
    overtaken,
)

CREATE_KEYS = frozenset({"statusTerminbestaetigung"})
"""The only info a create may carry; source: the documentation page "Create Relations"."""


class Refusal(NamedTuple):
    """Why a relation is not as asked: API code (0: none), error class, and a text for a person."""

    code: int
    error: str
    message: str


class Doubt(NamedTuple):
    """A write without an answer: until when (µs) it may still land, and what it would do (R14)."""

    until: int
    kind: Kind
    info: Info = ()


class OpenRelation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, rename={"intents": "wishes"}):
    """A relation whose wishes have no outcome yet, and how trying went so far. Times in µs of the store's clock."""

    intents: tuple[Intent, ...]
    cleared: JobVersion = NEVER
    since: int = 0
    not_before: int = 0
    tries: int = 0  # definite rejections
    losses: int = 0  # writes without an answer since the last definite one
    misses: int = 0  # requests of any kind in a row that came to nothing
    verify: bool = False  # read back before the next presence write
    refused: bool = False  # alone in its action when rejected: the read decides
    absent: bool = False  # a read just said so
    part: str = ""  # the piece of a split star it belongs to
    reduced: bool = False  # tried once more without its newest wish (R9)
    held: bool = False  # the waiting half of a swap that stepped back for the half that goes first (R12)
    spoiled: bool = False  # a half that goes first failed for good, and none has succeeded since
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class RelationState:
    """An open relation with what is known of it; `target` is the fold of its wishes."""

    open: OpenRelation
    confirmed: ConfirmedState
    doubt: Doubt | None
    target: Target

    def with_progress(self, **progress: Any) -> "RelationState":
        """The same with other progress."""
        return RelationState(
            msgspec.structs.replace(self.open, **progress), self.confirmed, self.doubt, self.target
        )

    def delayed(self, until: int) -> "RelationState":
        """The same, not to be looked at before `until` (µs)."""
        return self.with_progress(not_before=max(self.open.not_before, until))


class Wait(NamedTuple):
    """Nothing to do before `until` (µs)."""

    until: int


def add_intents(
    intents: tuple[Intent, ...],
    before: OpenRelation | None,
    known: ConfirmedState,
    doubt: Doubt | None,
    *,
    now: int,
    upsert: bool,
) -> tuple[RelationState | None, tuple[LostIntent, ...], ConfirmedState]:
    """The case after new wishes met what was open and known; the wishes that lost; the memory as it is now.

    Progress goes on when the target still asks the same; a changed target starts afresh but inherits `not_before` (R9).
    """
    folded = fold(
        intents + (before.intents if before else ()),
        known,
        cleared=before.cleared if before else NEVER,
        upsert=upsert,
    )
    memory, target = (
        overtaken(known, folded.cleared),
        folded.target,
    )  # even a stale delete makes older info void
    if target is None:
        return None, folded.lost, memory
    if before is None:
        opened = OpenRelation(target.intents, target.cleared, since=now)
    elif _same(fold(before.intents, known, cleared=before.cleared, upsert=upsert).target, target):
        opened = msgspec.structs.replace(before, intents=target.intents, cleared=target.cleared)
    else:
        opened = OpenRelation(
            target.intents, target.cleared, since=now, not_before=before.not_before, verify=before.verify
        )
    return RelationState(opened, memory, doubt, target), folded.lost, memory


def reopen(
    opened: OpenRelation, known: ConfirmedState = NOTHING, doubt: Doubt | None = None, *, upsert: bool
) -> RelationState | None:
    """The case of an open relation that nothing new was asked of; None when its wishes are all settled."""
    target = fold(opened.intents, known, cleared=opened.cleared, upsert=upsert).target
    return RelationState(opened, known, doubt, target) if target else None


def advance(
    case: RelationState, *, presence: bool, keys: frozenset[str] = frozenset(), upsert: bool
) -> tuple[RelationState | None, tuple[Intent, ...], ConfirmedState]:
    """The case after the API confirmed some of it: what is left to do, the wishes applied, the new memory."""
    known = confirm(case.target, case.confirmed, presence=presence, keys=keys)
    if presence and all(key in keys for key, _, _ in case.target.info):
        return None, case.open.intents, known
    folded = fold(case.open.intents, known, cleared=case.open.cleared, upsert=upsert)
    applied = tuple(lost.intent for lost in folded.lost)
    if folded.target is None:
        return None, applied, known
    opened = OpenRelation(
        folded.target.intents, folded.target.cleared, since=case.open.since, reduced=case.open.reduced
    )
    return RelationState(opened, known, case.doubt, folded.target), applied, known


def step(relation: Relation, case: RelationState, *, now: int) -> Operation | Wait:
    """What to do about the relation next: one operation, or wait.

    A target that contradicts a write in doubt waits until that write can no longer land (R14). Presence goes before
    info, and a create carries info only if a read has just shown the relation absent (R13).
    """
    if case.open.not_before > now:
        return Wait(case.open.not_before)
    doubt = case.doubt if case.doubt and case.doubt.until > now else None
    if doubt and contradicts(doubt, case.target):
        return Wait(doubt.until)
    # A write in doubt may have landed since the read: then the create would meet a relation, which keeps its old info.
    return _write(relation, case, absent=case.open.absent and not doubt)


def _write(relation: Relation, case: RelationState, *, absent: bool) -> Operation:
    target, opened = case.target, case.open
    if target.presence is None:
        return Operation("modify", relation, target.patch, opened.part)
    if opened.verify:
        return Operation("get", relation)
    if not target.presence:
        return Operation("delete", relation)
    if _may_modify_first(case):
        return Operation("modify", relation, target.patch, opened.part)
    info = tuple((key, value) for key, value in target.patch if key in CREATE_KEYS) if absent else ()
    return Operation("create", relation, info, opened.part)


def contradicts(doubt: Doubt, target: Target) -> bool:
    """Whether the write in doubt, landing after the target was reached, would undo some of it."""
    if doubt.kind == "delete":
        return target.presence is not False
    if target.presence is False:
        return True
    wanted = dict(target.patch)
    return any(key in wanted and wanted[key] != value for key, value in doubt.info)


def _may_modify_first(case: RelationState) -> bool:
    """An upsert: only modifies stand behind the target, so the relation is most likely there already."""
    return not case.open.absent and all(intent.action == "modify" for intent in case.target.intents)


def _same(before: Target | None, after: Target) -> bool:
    return before is not None and (before.presence, before.patch) == (after.presence, after.patch)
