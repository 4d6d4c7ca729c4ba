"""Actions into requests, so that no request holds two actions that conflict (R11) and conflicting ones keep their order.

Two actions conflict if they touch the same relation, or if their type is ordered, one creates and the other deletes, and they share a record.
One pass with an index by relation and by record: no pair of actions is ever compared.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator

from worker.planner.values import Action, Order, Request


def pack(actions: Iterable[Action], max_actions: int, *, order: Callable[[str], Order]) -> tuple[Request, ...]:
    """Each action in the earliest request that has room and lies behind those with earlier actions it conflicts with."""
    requests: list[list[Action]] = []
    bound: dict[Hashable, int] = {}  # mark → the first request behind every action that left it
    onward: list[int] = []  # request → itself, or a later one to look at because it is full
    for action in actions:
        left, heeded = _marks(action, order(action.type))
        slot = _with_room(onward, max((bound.get(mark, 0) for mark in heeded), default=0))
