"""What flushes of given jobs would send if the API took every action; nothing is sent and nothing is stored.

The one dry run behind `send --dry-run`, `import --dry-run`, the explained samples and the preview of replays.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from worker.contract import Relation
from worker.planner.dry_run import DryRun, Orders, dry_run
from worker.planner.guard import Guarded
from worker.planner.plan import Limits
from worker.planner.relation_state import RelationRecord
from worker.ports.work import ClaimedJob
from worker.usecases.batch import intents_by_relation


class DryRunPolicy(NamedTuple):
    """How an account's changes are planned.

    `order` says which half of a type's swaps goes first, `guarded` which record a type guards, `upsert` lets
    a modify create. Jobs are taken in
    batches of `max_batch`, as flushes take them; 0 takes all of them at once.
    """

    limits: Limits
    order: Orders
    guarded: Guarded
    upsert: bool = False
    max_batch: int = 0


def dry_run_jobs(
    jobs: Sequence[ClaimedJob], known: Mapping[Relation, RelationRecord], policy: DryRunPolicy
) -> DryRun:
    """Fold the jobs with what is `known` of their relations, and plan them batch by batch."""
    result, size = DryRun(), policy.max_batch or len(jobs) or 1
    for start in range(0, len(jobs), size):
        intents = intents_by_relation(jobs[start : start + size])
        result += dry_run(
            intents,
            known,
            limits=policy.limits,
            order=policy.order,
            guarded=policy.guarded,
            upsert=policy.upsert,
        )
    return result
