"""Operations become actions, actions become requests: the fewest, in an order that breaks nothing (R11). Pure."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.planner.cover import cover
from worker.planner.values import Action, Operation, Order, Request


@dataclass(frozen=True, slots=True)
class Limits:
    max_ids: int
    max_actions: int


@dataclass(frozen=True, slots=True)
class Plan:
    requests: tuple[Request, ...]
    relations: int
    actions: int
    least: int
    cut: int


def plan(operations: Sequence[Operation], limits: Limits, order: Callable[[str], Order]) -> Plan:
    groups = defaultdict(list)
    for op in sorted(operations, key=lambda op: (op.kind, op.relation, op.info, op.part)):
        groups[op.kind, op.relation.type, op.info, op.part].append(op.relation)
    actions, least = [], 0
    for (kind, name, info, part), relations in groups.items():
        if kind == "delete":
            actions += [Action(kind, name, (r.parent,), (r.child,), info, part) for r in relations]
            least += len(relations)
        elif kind == "get":
            by = defaultdict(list)
            for r in relations:
                by[r.parent].append(r)
            ids = sorted(by)
            for i in range(0, len(ids), limits.max_ids):
                chunk = ids[i : i + limits.max_ids]
                actions.append(Action("get", name, tuple(chunk), (), (), "", tuple(r for p in chunk for r in by[p])))
                least += 1
        else:
            c = cover((r.parent, r.child) for r in relations)
            least += c.matching
            for s in c.stars:
                for i in range(0, len(s.leaves), limits.max_ids):
                    leaves = s.leaves[i : i + limits.max_ids]
                    a, b = ((s.center,), leaves) if s.side == "parent" else (leaves, (s.center,))
                    actions.append(Action(kind, name, a, b, info, part))
    first = [a for a in actions if not _second(a, order)]
    second = [a for a in actions if _second(a, order)]
    requests = [Request(tuple(part[i : i + limits.max_actions])) for part in (first, second) for i in range(0, len(part), limits.max_actions)]
    return Plan(tuple(requests), len(operations), len(actions), least, len(actions) - least)


def _second(a: Action, order: Callable[[str], Order]) -> bool:
    return (a.kind, order(a.type)) in (("delete", "create_first"), ("create", "delete_first"))
