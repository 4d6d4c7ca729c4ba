"""Operations become actions, actions become requests: provably the fewest actions, in an order that breaks nothing.

Pure, and equal inputs give equal plans: only several operations on one relation have an order of their own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.contract import Info, Order, Relation
from worker.planner.actions import Action, Kind, Operation, Request
from worker.planner.cover import Star, cover
from worker.planner.pack import pack

Group = tuple[int, int, bool, Kind, str, Info, str]
"""What the operations of one action have in common: (level, phase, whether the type is free, kind, type, info, part)."""


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

    `least` is the number of actions no plan can do without: per group of creates or modifies the size of a maximum
    matching, for deletes one each, for reads one per `max_ids` ids. `cut` counts actions that only `max_ids` made
    necessary, so `actions == least + cut`.
    """

    requests: tuple[Request, ...]
    relations: int
    actions: int
    least: int
    cut: int


def plan(operations: Sequence[Operation], limits: Limits, order: Callable[[str], Order]) -> Plan:
    """The plan for operations; `order` says of a type which half of a swap goes first.

    Operations on one relation keep the order they are given in, even where that is against the order of their type.
    """
    orders = {name: order(name) for name in {operation.relation.type for operation in operations}}
    groups, relations = _groups(operations, orders)
    actions: list[Action] = []
    least = 0
    for group in sorted(groups):
        made, needed = _actions(group, groups[group], limits.max_ids)
        actions += made
        least += needed
    requests = pack(
        actions, limits.max_actions, order=orders.__getitem__, repeated=relations < len(operations)
    )
    return Plan(requests, relations, len(actions), least, len(actions) - least)


def _groups(
    operations: Sequence[Operation], orders: Mapping[str, Order]
) -> tuple[dict[Group, list[Relation]], int]:
    """The relations by group, and how many there are. Groups sort into the order of packing, free types last: few wait for those.

    A relation's second operation is of the second phase, and so on, so no star holds two of one relation.
    """
    last: dict[Relation, tuple[int, int]] = {}
    groups: dict[Group, list[Relation]] = defaultdict(list)
    for kind, relation, info, part in operations:
        level, phase = last.get(relation, (0, 0))
        order = orders[relation.type]
        level = level if order == "free" else _level(kind, order, level)
        last[relation] = level, phase + 1
        groups[level, phase, order == "free", kind, relation.type, info, part].append(relation)
    return groups, len(last)


def _level(kind: Kind, order: Order, level: int) -> int:
    """Even for the half of a swap that goes first, odd for the other, and never below the relation's operation before."""
    if kind not in ("create", "delete"):
        return level
    return level + (level + (order != f"{kind}_first")) % 2


def _actions(group: Group, relations: list[Relation], max_ids: int) -> tuple[list[Action], int]:
    """The actions of one group, and how many no plan can do without."""
    *_, kind, name, info, part = group
    if kind == "get":
        reads = list(_reads(name, relations, part, max_ids=max_ids))
        return reads, len(reads)
    if kind == "delete":
        return [
            Action(kind, name, (relation.parent,), (relation.child,), info, part)
            for relation in sorted(relations)
        ], len(relations)
    covered = cover((relation.parent, relation.child) for relation in relations)
    return [
        _star(kind, name, piece, info, part) for star in covered.stars for piece in _cut(star, max_ids)
    ], covered.matching


def _star(kind: Kind, name: str, star: Star, info: Info, part: str) -> Action:
    if star.side == "parent":
        return Action(kind, name, (star.center,), star.leaves, info, part)
    return Action(kind, name, star.leaves, (star.center,), info, part)


def _cut(star: Star, max_ids: int) -> Iterator[Star]:
    for leaves in _pieces(star.leaves, max_ids):
        yield star._replace(leaves=leaves)


def _reads(name: str, relations: Iterable[Relation], part: str, *, max_ids: int) -> Iterator[Action]:
    """Reads by the side with fewer ids, each relation asked for once."""
    wanted = sorted(relations)
    parents, children = {relation.parent for relation in wanted}, {relation.child for relation in wanted}
    by_parent = len(parents) <= len(children)
    asked: dict[int, list[Relation]] = defaultdict(list)
    for relation in wanted:
        asked[relation.parent if by_parent else relation.child].append(relation)
    for ids in _pieces(tuple(sorted(asked)), max_ids):
        answers = tuple(relation for each in ids for relation in asked[each])
        yield Action(
            "get", name, ids if by_parent else (), () if by_parent else ids, part=part, asked=answers
        )


def _pieces(ids: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
