"""The guard (R12): what must be known of a record's other relations before one of them is written. Pure.

A law about the CRM, whatever the batches, retries, replays, erasures and crashes: an estate never loses its
only broker, and a unit never belongs to two buildings. So a guarded write begins only after the record was
read in the same flush, and by what that read and the answers since then show. A relation that a lost write
may still take away or add counts for the worse.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from worker.contract import TYPES, GuardedSide, Relation, guarded_side
from worker.planner.actions import ActionResult, Operation, Reply, Request, Verdict
from worker.planner.apply_reply import Effects
from worker.planner.relation_state import Doubt, Refusal, RelationState
from worker.planner.retry_policy import CURABLE

LAST_ONE: Final = "last_one"  # the class of a failure: the parent would be left without a child
DEPENDENCY: Final = "dependency"  # the child still has another parent
UNREADABLE: Final = Refusal(
    0, "unknown", "the API answered the read of what else its record has in a form that cannot be read"
)
USUAL_SIDES: Final = {name: guarded_side(known) for name, known in TYPES.items()}
MAX_CHECKED = 20  # other relations of a record whose doubts are looked up: one that surely stands is enough

Guarded = Callable[[str], GuardedSide]
"""Which side's record a relation type guards."""


def guard_key(relation: Relation, side: GuardedSide) -> str:
    """Return the name of the guarded record, the same for all of its relations; "" if none is guarded."""
    if side == "parent":
        return f"{relation.type}:{relation.parent}"
    return f"{relation.type}::{relation.child}" if side == "child" else ""


def indexed_side(name: str, side: GuardedSide) -> GuardedSide:
    """Return the side by whose record the open relations of a type are found: the guarded one, if any.

    Else that of the catalogue: settings may switch the guard on again while a write is in doubt.
    """
    return side or USUAL_SIDES[name]


def makes_way(presence: bool | None, side: GuardedSide) -> bool:
    """Return whether getting this presence lets others go: a new broker is there, a building was left."""
    return (side == "parent" and presence is True) or (side == "child" and presence is False)


class Screened(NamedTuple):
    """Operations of a round: those that may go, those to be decided, the records for which others wait."""

    free: list[Operation]
    undecided: list[Operation]
    awaited: frozenset[str]


class Guard:
    """What one flush knows of the guarded records it works on."""

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded
        self._shown: dict[str, set[int]] = {}  # what a read showed, and what was confirmed since
        self._confirmed: dict[str, set[int]] = defaultdict(set)  # there since an answer of this flush
        self._taken: dict[str, set[int]] = defaultdict(set)  # may be gone since a write of this flush
        self._unreadable: dict[str, Refusal | None] = {}  # with the refusal of a read of that record alone

    def key(self, relation: Relation) -> str:
        """Return the guarded record of the relation, "" if there is none."""
        return guard_key(relation, self._guarded(relation.type))

    @property
    def was_shown(self) -> bool:
        """Whether a read has shown what a record has."""
        return bool(self._shown)

    def keeps(self, operation: Operation, states: Mapping[Relation, RelationState]) -> bool:
        """Return whether it goes only by what is known of its record, or makes way in one that was read."""
        relation, state = operation.relation, states[operation.relation]
        side = self._guarded(relation.type)
        is_way_maker = makes_way(state.target.presence, side) and guard_key(relation, side) in self._shown
        return is_way_maker or _is_guarded(operation, state, side)

    # --- what is sent

    def screen(self, operations: Sequence[Operation], states: Mapping[Relation, RelationState]) -> Screened:
        """Return the operations that may go, with the reads the guard needs, and those to be decided.

        A guarded write is decided when its record was read. One for which another operation of the round
        makes way waits for the next round, and is in neither list.
        """
        sides = {kind: self._guarded(kind) for kind in {operation.relation.type for operation in operations}}
        if not any(sides.values()):
            return Screened(list(operations), [], frozenset())
        awaited = self.records_with_way_makers({each.relation: states[each.relation] for each in operations})
        free, undecided = [], []
        for operation in operations:
            side = sides[operation.relation.type]
            if operation.kind == "get":
                free.append(msgspec.structs.replace(operation, ask=side))
                continue
            if not _is_guarded(operation, states[operation.relation], side):
                free.append(operation)
                continue
            key = guard_key(operation.relation, side)
            if self._is_known(operation.relation, key):
                undecided.append(operation)
            elif side == "child" or key not in awaited:
                free.append(Operation("get", operation.relation, part=operation.part, ask=side))
        return Screened(free, undecided, awaited)

    def records_with_way_makers(self, states: Mapping[Relation, RelationState]) -> frozenset[str]:
        """Return the guarded records in which one of these relations makes way for others."""
        return frozenset(
            self.key(relation)
            for relation, state in states.items()
            if makes_way(state.target.presence, self._guarded(relation.type))
        )

    def others(self, operations: Iterable[Operation]) -> list[Relation]:
        """Return the relations that seem to stand beside those of these operations."""
        found: dict[Relation, None] = {}
        for operation in operations:
            relation = operation.relation
            side = self._guarded(relation.type)
            for other in sorted(self._related(self.key(relation)))[:MAX_CHECKED]:
                found[_sibling(relation, other, side)] = None
        return list(found)

    def by_record(self, doubts: Mapping[Relation, Doubt | None]) -> dict[str, dict[Relation, Doubt]]:
        """Return the doubts by the guarded record of their relation."""
        found: dict[str, dict[Relation, Doubt]] = defaultdict(dict)
        for relation, doubt in doubts.items():
            if doubt:
                found[self.key(relation)][relation] = doubt
        return found

    def refuse(self, relation: Relation, doubts: Mapping[Relation, Doubt], *, now: int) -> Refusal | None:
        """Return why the relation must not be written now; None if it may, which then counts as written.

        `doubts` are those about relations of its record: what seems to stand (`others`), what is open.
        """
        key, side = self.key(relation), self._guarded(relation.type)
        if refusal := self._unreadable.get(key):
            return refusal
        mine, present, is_read = _other_id(relation, side), self._related(key), key in self._shown
        doubtful = {
            _other_id(other, side): doubt.kind for other, doubt in doubts.items() if doubt.until > now
        }
        if side == "parent":
            removes_nothing = is_read and mine not in present
            sure = {other for other in present - {mine} if doubtful.get(other) != "delete"}
            if not sure and not removes_nothing:
                return _last_one(relation)
            self._taken[key].add(mine)
            return None
        landing = {other for other, kind in doubtful.items() if kind == "create"}
        parents = (present | landing) - {mine}
        if parents or not is_read:
            return _has_parent(relation)
        self._taken[key].discard(mine)  # it may have left this parent in the same flush
        self._confirmed[key].add(mine)
        return None

    # --- what is learned

    def note_reply(self, request: Request, reply: Reply) -> None:
        """Learn from reads that ask for guarded records."""
        for action, result in zip(request.actions, reply.results, strict=True):
            if action.kind != "get" or not (side := self._guarded(action.type)):
                continue
            if not (asked := action.parents if side == "parent" else action.children):
                continue
            keys = {record: guard_key(Relation(action.type, record, record), side) for record in asked}
            if result.verdict is Verdict.OK:
                for record, key in keys.items():
                    self._note_shown(key, record, result)
            elif result.verdict is Verdict.REJECTED:
                refusal = Refusal(result.code, result.error.value, result.message)
                self._unreadable |= dict.fromkeys(keys.values(), refusal if len(asked) == 1 else None)

    def _note_shown(self, key: str, record: int, result: ActionResult) -> None:
        if record in result.unreadable:
            self._unreadable[key] = UNREADABLE
            return
        self._shown[key] = set(result.related.get(record, ()))
        self._unreadable.pop(key, None)

    def note_effects(self, effects: Effects, states: Mapping[Relation, RelationState]) -> set[str]:
        """Learn what was just confirmed; return the records of which a held relation may go now."""
        freed = set[str]()
        if not any(map(self._guarded, {relation.type for relation in effects.confirmed})):
            return freed
        for relation, (confirmed, _) in effects.confirmed.items():
            side, before = self._guarded(relation.type), states.get(relation)
            if not side or before is None or confirmed.presence <= before.confirmed.presence:
                continue
            key, other = guard_key(relation, side), _other_id(relation, side)
            present = confirmed.present > confirmed.absent
            (self._confirmed if present else self._taken)[key].add(other)
            (self._taken if present else self._confirmed)[key].discard(other)
            if makes_way(present, side):
                freed.add(key)
        return freed

    def _related(self, key: str) -> set[int]:
        """Return the other ids that are related to the record, as far as this flush knows."""
        return (self._shown.get(key, set()) | self._confirmed[key]) - self._taken[key]

    def _is_known(self, relation: Relation, key: str) -> bool:
        """Return whether the record was read; beside a broker that was just confirmed no read is needed."""
        if key in self._shown or key in self._unreadable:
            return True
        side = self._guarded(relation.type)
        return side == "parent" and bool(self._related(key) - {_other_id(relation, side)})

    def is_unreadable(self, relation: Relation) -> bool:
        """Return whether the read of its record alone was rejected, with an error that time does not cure."""
        refusal = self._unreadable.get(self.key(relation))
        return refusal is not None and self.is_answered(relation) and refusal.error not in CURABLE

    def is_answered(self, relation: Relation) -> bool:
        """Return whether the API has not answered the read of its record in a form that cannot be read."""
        return self._unreadable.get(self.key(relation)) is not UNREADABLE

    def was_refused_together(self, relation: Relation) -> bool:
        """Return whether the read of its record was rejected together with those of others."""
        key = self.key(relation)
        return key in self._unreadable and self._unreadable[key] is None


def _is_guarded(operation: Operation, state: RelationState, side: GuardedSide) -> bool:
    if side == "parent":
        return operation.kind == "delete" and not state.target.allow_empty
    return side == "child" and operation.kind == "create"


def _other_id(relation: Relation, side: GuardedSide) -> int:
    """Return the id by which a relation differs from the others of its guarded record."""
    return relation.child if side == "parent" else relation.parent


def _sibling(relation: Relation, other: int, side: GuardedSide) -> Relation:
    return relation._replace(child=other) if side == "parent" else relation._replace(parent=other)


def _last_one(relation: Relation) -> Refusal:
    record = f"{TYPES[relation.type].parent} {relation.parent}"
    return Refusal(
        0,
        LAST_ONE,
        f"no other {relation.type} of {record} is known to stand, and it is to keep one; link another, or "
        "send the delete with allow_empty",
    )


def _has_parent(relation: Relation) -> Refusal:
    # Without the other's id: a text is erased with the records of its own relation only.
    known = TYPES[relation.type]
    reason = f"{known.child} {relation.child} has another {known.parent} by {relation.type}"
    return Refusal(0, DEPENDENCY, f"{reason}, or may get it yet; it has to leave that first")
