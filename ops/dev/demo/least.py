"""The fewest actions that lead to an end state, had everything been known at once. Pure; the proof is the planner's."""

from collections.abc import Iterable

from ops.dev.demo.office import World
from worker.contract import Relation
from worker.planner.actions import Operation
from worker.planner.plan import Limits, plan

UNCUT = Limits(max_ids=1_000_000, max_actions=1_000_000)


def least(present: World, absent: Iterable[Relation]) -> int:
    """For one account: stars that create, stars that set info (R13), and one delete per relation that is to be gone (R7)."""
    presence = [Operation("create", relation) for relation in present] + [
        Operation("delete", relation) for relation in absent
    ]
    infos = [
        Operation("modify", relation, tuple(sorted(info.items())))
        for relation, info in present.items()
        if info
    ]
    return sum(plan(operations, UNCUT, lambda _: "free").least for operations in (presence, infos))
