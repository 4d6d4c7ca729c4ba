"""What operators' actions need of the flush's rules: a dry run, and the end of open relations. No I/O."""

from collections.abc import Mapping, Sequence

from worker.contract import Relation
from worker.planner.dry_run import DryRun, dry_run
from worker.ports import ClaimedJob, RelationRecord, Writes
from worker.usecases.batch import Batch, intents_by_relation
from worker.usecases.flush_context import FlushPolicy


def dry_run_jobs(
    policy: FlushPolicy, jobs: Sequence[ClaimedJob], known: Mapping[Relation, RelationRecord]
) -> DryRun:
    """Return what flushes of these jobs would send if the API took all of it."""
    total = DryRun()
    for start in range(0, len(jobs), policy.max_batch):
        intents = intents_by_relation(jobs[start : start + policy.max_batch])
        total += dry_run(intents, known, limits=policy.limits, order=policy.order, upsert=policy.retry.upsert)
    return total


def withdraw_relations(
    policy: FlushPolicy,
    relations: Sequence[Relation],
    records: Mapping[Relation, RelationRecord],
    *,
    by: str,
) -> Writes:
    """Return what ends these open relations; the others among the records forget their split star."""
    batch = Batch(upsert=policy.retry.upsert, order=policy.order)
    batch.reopen(records.keys() - set(relations), records)
    return batch.writes(batch.withdraw(relations, records, by=by))
