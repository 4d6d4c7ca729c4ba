"""Operations become actions, actions requests: provably the fewest actions, in an order that breaks nothing.

Pure, and equal inputs give equal plans: only several operations on one relation have an order of their own.

No request holds two actions that conflict, and conflicting ones keep their order (R11). Two actions conflict
if they are about the same relation, or if their type is ordered, one creates and the other deletes, and they
share a record. One pass with an index by relation and by record finds that: no pair of actions is ever
compared.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from worker.contract import GuardedSide, Info, Order, Relation
from worker.planner.actions import Action, Kind, Operation, Request
from worker.planner.cover import cover

Item = TypeVar("Item")
Group = tuple[int, int, bool, Kind, str, Info, str, GuardedSide]
"""One action has one (level, phase, whether the type is free, kind, type, info, part, ask)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most ids on the many side of an action, and the most actions in a request; both at least 1."""

    max_ids: int
    max_actions: int

    def __post_init__(self) -> None:
        if min(self.max_ids, self.max_actions) < 1:
            raise ValueError(f"limits must be at least 1, got {self}")


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests in the order they have to go, with the proof of their size.

    Each request may begin once as many of the first ones are settled as `after` says: those in between do not
    conflict with it. `least` is the number of actions no plan can do without: per group of creates or
    modifies the size of a maximum matching, for deletes one each, for reads one per `max_ids` ids. `cut`
    counts actions that only `max_ids` made necessary, so `actions == least + cut`.
    """

    requests: tuple[Request, ...]
    after: tuple[int, ...]
    relations: int
    actions: int
    least: int
    cut: int


def plan(operations: Sequence[Operation], limits: Limits, order: Callable[[str], Order]) -> Plan:
    """Plan the operations; `order` tells of a type which half of a swap goes first.

    Operations on one relation keep the order they are given in, even where that is against the order of their
    type.
    """
    types = {operation.relation.type for operation in operations}
    orders = {relation_type: order(relation_type) for relation_type in types}
    groups, relations = _group(operations, orders)
    actions: list[Action] = []
    least = 0
    for group in sorted(groups):
        made, needed = _actions(group, groups[group], limits.max_ids)
        actions += made
        least += needed
    requests, after = _pack(actions, limits.max_actions, orders, repeated=relations < len(operations))
    return Plan(requests, after, relations, len(actions), least, len(actions) - least)


# --- operations into groups, groups into actions


def _group(
    operations: Sequence[Operation], orders: Mapping[str, Order]
) -> tuple[dict[Group, list[Relation]], int]:
    """Return the relations by group, and how many there are.

    Groups sort into the order of packing, free types last: few wait for those. A relation's second operation
    is of the second phase, and so on, so no star holds two of one relation.
    """
    last: dict[Relation, tuple[int, int]] = {}
    groups: dict[Group, list[Relation]] = defaultdict(list)
    for operation in operations:
        kind, relation, info = operation.kind, operation.relation, operation.info
        level, phase = last.get(relation, (0, 0))
        name, order = relation.type, orders[relation.type]
        is_free = order == "free"
        level = level if is_free else _level(kind, order, level)
        last[relation] = level, phase + 1
        groups[level, phase, is_free, kind, name, info, operation.part, operation.ask].append(relation)
    return groups, len(last)


def _level(kind: Kind, order: Order, level: int) -> int:
    """Return an even level for the first half of a swap, an odd one for the other, not below `level`."""
    if kind not in ("create", "delete"):
        return level
    return level + (level + (order != f"{kind}_first")) % 2


def _actions(group: Group, relations: list[Relation], max_ids: int) -> tuple[list[Action], int]:
    """Return the actions of one group, and how many no plan can do without."""
    *_, kind, relation_type, info, part, ask = group
    if kind == "get":
        reads = list(_reads(relation_type, relations, part, ask, max_ids=max_ids))
        return reads, len(reads)
    if kind == "delete":
        pairs = [((relation.parent,), (relation.child,)) for relation in sorted(relations)]
        return [Action(kind, relation_type, *pair, info, part) for pair in pairs], len(pairs)
    covered = cover([(relation.parent, relation.child) for relation in relations])
    actions = [
        Action(kind, relation_type, (star.center,), ids, info, part)
        if star.side == "parent"
        else Action(kind, relation_type, ids, (star.center,), info, part)
        for star in covered.stars
        for ids in _slices(star.leaves, max_ids)
    ]
    return actions, covered.matching


def _reads(
    relation_type: str, relations: Iterable[Relation], part: str, ask: GuardedSide, *, max_ids: int
) -> Iterator[Action]:
    """Yield reads by the wanted side, or by the one with fewer ids; each relation is asked for once."""
    wanted = sorted(relations)
    parents, children = {relation.parent for relation in wanted}, {relation.child for relation in wanted}
    by_parent = ask == "parent" if ask else len(parents) <= len(children)
    by_id: dict[int, list[Relation]] = defaultdict(list)
    for relation in wanted:
        by_id[relation.parent if by_parent else relation.child].append(relation)
    for ids in _slices(tuple(sorted(by_id)), max_ids):
        asked = tuple(relation for record in ids for relation in by_id[record])
        sides = (ids, ()) if by_parent else ((), ids)
        yield Action("get", relation_type, sides[0], sides[1], part=part, asked=asked)


def _slices(items: tuple[Item, ...], size: int) -> Sequence[tuple[Item, ...]]:
    return [items] if 0 < len(items) <= size else [items[at : at + size] for at in range(0, len(items), size)]


# --- actions into requests


def _pack(
    actions: Iterable[Action], max_actions: int, orders: Mapping[str, Order], *, repeated: bool
) -> tuple[tuple[Request, ...], tuple[int, ...]]:
    """Put each action into the earliest request that has room and comes after the actions it conflicts with.

    Return the requests, and for each how many of the first ones have to be settled before it begins.
    `repeated` says whether any relation is in several actions; where none is, only ordered types can
    conflict.
    """
    if not repeated and set(orders.values()) <= {"free"}:
        unordered = tuple([Request(part) for part in _slices(tuple(actions), max_actions)])
        return unordered, (0,) * len(unordered)
    requests: list[list[Action]] = []
    after: list[int] = []
    earliest: dict[Hashable, int] = {}  # mark → the first request after every action that left the mark
    next_open: list[int] = []  # request → itself, or a later one to try because it is full
    for action in actions:
        left, respected = _marks(action, orders[action.type], repeated)
        start = max((earliest[mark] for mark in respected if mark in earliest), default=0)
        slot = _request_with_room(next_open, start)
        if slot == len(requests):
            requests.append([])
            after.append(0)
            next_open.append(slot)
        requests[slot].append(action)
        after[slot] = max(after[slot], start)
        if len(requests[slot]) == max_actions:
            next_open[slot] = slot + 1
        for mark in left:
            earliest[mark] = max(earliest.get(mark, 0), slot + 1)
    return tuple(Request(tuple(request)) for request in requests), tuple(after)


def _marks(action: Action, order: Order, repeated: bool) -> tuple[list[Hashable], list[Hashable]]:
    """Return the marks that an action leaves for later ones, and those of earlier ones that it respects."""
    same: list[Hashable] = list(action.relations) if repeated else []
    if order == "free" or action.kind not in ("create", "delete"):
        return same, same
    other = "delete" if action.kind == "create" else "create"
    records = [(action.type, "parent", parent) for parent in action.parents]
    records += [(action.type, "child", child) for child in action.children]
    left = [(*record, action.kind) for record in records]
    return same + left, same + [(*record, other) for record in records]


def _request_with_room(next_open: list[int], slot: int) -> int:
    """Return the first request from `slot` on that has room, or a new one; shorten the way for later."""
    while slot < len(next_open) and (following := next_open[slot]) != slot:
        if following < len(next_open):
            next_open[slot] = next_open[following]
        slot = following
    return slot
