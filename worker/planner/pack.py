"""Actions into requests, so that no request holds two actions that conflict (R11) and conflicting ones keep their order.

Two actions conflict if they touch the same relation, or if their type is ordered, one creates and the other deletes, and they share a
record. One pass with an index by relation and by record: no pair of actions is ever compared.
"""

from collections.abc import Callable, Hashable, Iterable

from worker.contract import Order
from worker.planner.actions import Action, Request


def pack(
    actions: Iterable[Action], max_actions: int, *, order: Callable[[str], Order], repeated: bool
) -> tuple[Request, ...]:
    """Each action in the earliest request that has room and lies behind those with earlier actions it conflicts with.

    `repeated` says whether any relation stands in several actions; where none does, only ordered types are looked at.
    """
    requests: list[list[Action]] = []
    bound: dict[Hashable, int] = {}  # mark → the first request behind every action that left it
    onward: list[int] = []  # request → itself, or a later one to look at because it is full
    for action in actions:
        left, heeded = _marks(action, order(action.type), repeated)
        slot = _with_room(onward, max((bound[mark] for mark in heeded if mark in bound), default=0))
        if slot == len(requests):
            requests.append([])
            onward.append(slot)
        requests[slot].append(action)
        if len(requests[slot]) == max_actions:
            onward[slot] = slot + 1
        for mark in left:
            bound[mark] = max(bound.get(mark, 0), slot + 1)
    return tuple(Request(tuple(request)) for request in requests)


def _marks(action: Action, order: Order, repeated: bool) -> tuple[list[Hashable], list[Hashable]]:
    """What an action leaves for later ones, and what it heeds of earlier ones."""
    same: list[Hashable] = list(action.relations) if repeated else []
    if order == "free" or action.kind not in ("create", "delete"):
        return same, same
    other = "delete" if action.kind == "create" else "create"
    records = [(action.type, "parent", parent) for parent in action.parents] + [
        (action.type, "child", child) for child in action.children
    ]
    return same + [(*record, action.kind) for record in records], same + [
        (*record, other) for record in records
    ]


def _with_room(onward: list[int], slot: int) -> int:
    """The first request from `slot` on that has room, or the next new one; every full one on the way then leads further."""
    while slot < len(onward) and (following := onward[slot]) != slot:
        if following < len(onward):
            onward[slot] = onward[following]
        slot = following
    return slot
