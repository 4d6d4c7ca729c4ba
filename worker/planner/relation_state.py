"""The state of one relation in a flush: what is wanted and confirmed, how trying went, what to do next.

Pure. The store keeps an `OpenRelation` while any outcome is missing; a `RelationState` joins it with what is
confirmed.
"""

from collections.abc import Collection
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from worker.contract import Info, Relation
from worker.contract.catalogue import CONFIRMATION
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
    note_overtaken_delete,
)

CREATE_KEYS = frozenset({CONFIRMATION})
"""The only info a create may carry; source: the documentation page "Create Relations"."""


ALONE = 3
"""The suspicion from which on a relation is tried alone (R24)."""


class Refusal(NamedTuple):
    """Why a relation is not as wanted: API code (0: none), error class, and a text for people."""

    code: int
    error: str
    message: str


class Doubt(NamedTuple):
    """A write without an answer: until when (µs) it may still land, and what it would do (R14)."""

    until: int
    kind: Kind
    info: Info = ()


class Stage(Enum):
    """What is known before the next write of presence, and whether it `reads` the relation back first."""

    WRITE = "nothing stands in its way"
    WRITE_ABSENT = "the API has just shown the relation absent, so a create may carry info (R13)"
    READ_BACK = "a write without an answer may have landed (R14)", True
    READ_REJECTED = "it was rejected alone in its action: the read decides whether it failed (R15)", True

    def __init__(self, _meaning: str, reads: bool = False) -> None:
        self.reads = reads


class OpenRelation(msgspec.Struct, frozen=True, gc=False):
    """A relation whose intents have no outcome yet, and how trying went. Times in µs of the store's clock.

    `rejections` counts definite rejections, `lost_writes` those without an answer since the last definite
    one, and `failures` requests of any kind in a row that came to nothing. `part` names the piece of a split
    star it belongs to (R16). A `reduced` relation is tried once more without its newest intent (R9). A `held`
    one waits until the other relations of its record allow it (R12). `suspicion` counts requests with it that
    failed although the API answered others (R24).
    """

    intents: tuple[Intent, ...]
    cleared: JobVersion = NEVER
    since: int = 0
    not_before: int = 0
    rejections: int = 0
    lost_writes: int = 0
    failures: int = 0
    stage: Stage = Stage.WRITE
    part: str = ""
    reduced: bool = False
    held: bool = False
    refusal: Refusal | None = None
    suspicion: int = 0


class RelationRecord(msgspec.Struct, frozen=True, gc=False):
    """What is known of one relation: what is open, what is confirmed, and what is in doubt."""

    open: OpenRelation | None = None
    confirmed: ConfirmedState = ConfirmedState()
    doubt: Doubt | None = None


class RelationState(msgspec.Struct, frozen=True, gc=False):
    """An open relation with what is confirmed and in doubt about it; `target` is the fold of its intents."""

    open: OpenRelation
    confirmed: ConfirmedState
    doubt: Doubt | None
    target: Target

    def with_progress(self, **progress: Any) -> "RelationState":
        """Return the state with these fields of its open relation changed."""
        changed = msgspec.structs.replace(self.open, **progress)
        return RelationState(changed, self.confirmed, self.doubt, self.target)

    def delayed(self, until: int) -> "RelationState":
        """Return the state as one that is due at `until` (µs) at the earliest."""
        return self.with_progress(not_before=max(self.open.not_before, until))


class Wait(msgspec.Struct, frozen=True, gc=False):
    """Nothing to do before `until` (µs)."""

    until: int


def add_intents(
    intents: tuple[Intent, ...],
    before: OpenRelation | None,
    confirmed: ConfirmedState,
    doubt: Doubt | None,
    *,
    now: int,
    upsert: bool,
) -> tuple[RelationState | None, tuple[LostIntent, ...], ConfirmedState]:
    """Fold new intents into what is open; return the new state, the intents that lost, and the new memory.

    Progress goes on while the target stays the same; a changed target starts from the beginning, but not
    earlier than the old one would have been tried (R9).
    """
    older, cleared = (before.intents, before.cleared) if before else ((), NEVER)
    folded = fold(intents + older, confirmed, cleared=cleared, upsert=upsert)
    target, lost = folded.target, folded.lost
    # Even a stale delete makes older info void.
    memory = note_overtaken_delete(confirmed, folded.cleared)
    if target is None:
        return None, lost, memory
    if before is None:
        opened = OpenRelation(target.intents, target.cleared, since=now)
    elif _is_same(fold(before.intents, confirmed, cleared=before.cleared, upsert=upsert).target, target):
        opened = msgspec.structs.replace(before, intents=target.intents, cleared=target.cleared)
    else:
        opened = _start_over(before, target, since=now, not_before=before.not_before)
    return RelationState(opened, memory, doubt, target), lost, memory


def reopen(
    opened: OpenRelation, confirmed: ConfirmedState = NOTHING, doubt: Doubt | None = None, *, upsert: bool
) -> RelationState | None:
    """Return the state of an open relation without new intents, None when all of its intents are settled."""
    target = fold(opened.intents, confirmed, cleared=opened.cleared, upsert=upsert).target
    return RelationState(opened, confirmed, doubt, target) if target else None


def drop_newest_intent(state: RelationState, *, upsert: bool) -> RelationState | None:
    """Return the state without its newest intent; None if that was tried before or asks for the same (R9)."""
    opened, older = state.open, state.open.intents[:-1]
    if not older or opened.reduced:
        return None
    target = fold(older, state.confirmed, cleared=opened.cleared, upsert=upsert).target
    if target is None or _is_same(state.target, target):
        return None
    reduced = _start_over(opened, target, since=opened.since, reduced=True)
    return RelationState(reduced, state.confirmed, state.doubt, target)


def drop_jobs(
    state: RelationState, jobs: Collection[str], *, upsert: bool
) -> tuple[RelationState | None, tuple[LostIntent, ...]]:
    """Return the state without the intents of these jobs, and those of others that count no more then."""
    opened = state.open
    left = tuple(intent for intent in opened.intents if intent.job not in jobs)
    if not left:
        return None, ()
    cleared = NEVER if opened.cleared.job in jobs else opened.cleared
    folded = fold(left, state.confirmed, cleared=cleared, upsert=upsert)
    target = folded.target
    if target is None:
        return None, folded.lost
    if _is_same(state.target, target):
        changed = msgspec.structs.replace(opened, intents=target.intents, cleared=target.cleared)
    else:
        changed = _start_over(opened, target, since=opened.since, not_before=opened.not_before)
    return RelationState(changed, state.confirmed, state.doubt, target), folded.lost


def confirm_write(
    state: RelationState, keys: frozenset[str] = frozenset(), *, upsert: bool
) -> tuple[RelationState | None, tuple[Intent, ...], ConfirmedState]:
    """Confirm presence and these info keys; return what is left, the intents applied, the new memory."""
    confirmed = confirm(state.target, state.confirmed, keys)
    if not state.target.info or all(key in keys for key, _, _ in state.target.info):
        return None, state.open.intents, confirmed
    folded = fold(state.open.intents, confirmed, cleared=state.open.cleared, upsert=upsert)
    target, applied = folded.target, tuple(lost.intent for lost in folded.lost)
    if target is None:
        return None, applied, confirmed
    opened = OpenRelation(target.intents, target.cleared, since=state.open.since, reduced=state.open.reduced)
    return RelationState(opened, confirmed, state.doubt, target), applied, confirmed


def next_operation(relation: Relation, state: RelationState, *, now: int) -> Operation | Wait:
    """Return what to do about the relation next: one operation, or how long to wait.

    A target that contradicts a write in doubt waits until that write can no longer land (R14). Presence goes
    before info, and a create carries info only if the relation was just shown to be absent (R13).
    """
    if state.open.not_before > now:
        return Wait(state.open.not_before)
    doubt = state.doubt if state.doubt and state.doubt.until > now else None
    if doubt and contradicts(doubt, state.target):
        return Wait(doubt.until)
    # A write in doubt may have landed since the read: a create that meets a relation leaves its old info.
    with_info = state.open.stage is Stage.WRITE_ABSENT and not doubt
    return _operation(relation, state, with_info=with_info)


def unfinished_until(
    opened: OpenRelation, confirmed: ConfirmedState, doubt: Doubt | None, *, now: int
) -> int | None:
    """Return until when (µs) an unfinished write of the relation may still land.

    Unfinished is one without a definite answer, and one of several that an intent needs, such as a create
    whose info is still to be set. It is `now` for what can land no more; None if all that was sent is
    accounted for.
    """
    if doubt and doubt.until > now:
        return doubt.until
    done = {confirmed.present.job, confirmed.absent.job, *(info.job for info in confirmed.info.values())}
    half_done = any(intent.job in done for intent in opened.intents)
    return now if opened.stage.reads or opened.lost_writes or half_done else None


def contradicts(doubt: Doubt, target: Target) -> bool:
    """Return whether the write in doubt, landing after the target was reached, would undo some of it."""
    if doubt.kind == "delete":
        return target.presence is not False
    if target.presence is False:
        return True
    wanted = dict(target.patch)
    return any(key in wanted and wanted[key] != value for key, value in doubt.info)


def _operation(relation: Relation, state: RelationState, *, with_info: bool) -> Operation:
    target, opened = state.target, state.open
    if target.presence is None:
        return Operation("modify", relation, target.patch, opened.part)
    if opened.stage.reads:
        return Operation("get", relation)
    if not target.presence:
        return Operation("delete", relation)
    if opened.stage is Stage.WRITE and _only_modifies(target):
        return Operation("modify", relation, target.patch, opened.part)
    info = tuple((key, value) for key, value in target.patch if key in CREATE_KEYS) if with_info else ()
    return Operation("create", relation, info, opened.part)


def _only_modifies(target: Target) -> bool:
    """Return whether only modifies stand behind an upsert: then the relation is most likely there already."""
    return {"modify"}.issuperset([intent.action for intent in target.intents])


def _start_over(
    before: OpenRelation,
    target: Target,
    *,
    since: int,
    not_before: int = 0,
    reduced: bool = False,
) -> OpenRelation:
    """Return how a changed target starts: what has no definite answer yet is read back first."""
    return OpenRelation(
        target.intents,
        target.cleared,
        since=since,
        not_before=not_before,
        stage=Stage.READ_BACK if before.stage.reads or before.lost_writes else Stage.WRITE,
        reduced=reduced,
        suspicion=min(before.suspicion, ALONE),
    )


def _is_same(before: Target | None, after: Target) -> bool:
    return before is not None and (before.presence, before.patch) == (after.presence, after.patch)
