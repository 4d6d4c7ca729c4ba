"""The fewest actions that lead to an end state, by the planner's proof. Pure."""

from collections.abc import Iterable

from ops.dev.demo.agency import CrmRelations
from worker.contract import Relation
from worker.planner.actions import Operation
from worker.planner.plan import Limits, plan

UNLIMITED = Limits(max_ids=1_000_000, max_actions=1_000_000)


def count_fewest_actions(present: CrmRelations, absent: Iterable[Relation]) -> int:
    """Return how many actions one account needs if everything is known at once.

    They are stars that create, stars that set info (R13), and one delete per relation to be removed (R7).
    """
    presence = [Operation("create", relation) for relation in present] + [
        Operation("delete", relation) for relation in absent
    ]
    infos = [
        Operation("modify", relation, tuple(sorted(info.items())))
        for relation, info in present.items()
        if info
    ]
    return sum(plan(operations, UNLIMITED, lambda _: "free").least for operations in (presence, infos))
