"""What flushes would send if the API took every action: of given jobs, or of an account that only observes.

Nothing is sent. It is the one dry run behind `send --dry-run`, `import --dry-run`, the explained samples, the
preview of replays, and the records of accounts that observe.
"""

from collections.abc import Mapping, Sequence

from worker.contract import Relation
from worker.planner.dry_run import DryRun, DryRunPolicy, dry_run
from worker.planner.fold import Intent
from worker.planner.relation_state import RelationRecord
from worker.ports.records import JobState
from worker.ports.requests import RequestRecord
from worker.ports.store import Store
from worker.ports.work import ClaimedJob, Lease, WorkBatch, Writes
from worker.usecases.batch import first_correlations, intents_by_relation
from worker.usecases.flush_context import FlushPolicy


def dry_run_jobs(
    jobs: Sequence[ClaimedJob], known: Mapping[Relation, RelationRecord], policy: DryRunPolicy
) -> DryRun:
    """Fold the jobs with what is `known` of their relations, and plan them batch by batch."""
    result, size = DryRun(), policy.max_batch or len(jobs) or 1
    for start in range(0, len(jobs), size):
        result += dry_run(intents_by_relation(jobs[start : start + size]), known, policy)
    return result


def observe(work: WorkBatch, store: Store, lease: Lease, policy: FlushPolicy) -> tuple[int, int]:
    """Record the requests of a batch that stays where it is; return how many they are, and how many new."""
    requests = _would_be_sent(work, policy)
    new = 0
    for record, writes in requests:
        if store.get_request(policy.account, record.id) is None:
            lease.settle(record.id, writes)
            new += 1
    return len(requests), new


def _would_be_sent(work: WorkBatch, policy: FlushPolicy) -> list[tuple[RequestRecord, Writes]]:
    """Return one record per request, with the jobs that would travel in it."""
    intents: dict[Relation, tuple[Intent, ...]] = dict.fromkeys(work.due, ()) | intents_by_relation(work.jobs)
    result = dry_run(intents, work.records, policy.dry_run)
    found = []
    for request in result.requests:
        behind = dict.fromkeys(intent for relation in request.relations() for intent in intents[relation])
        correlations = first_correlations(intent.correlation for intent in behind)
        record = RequestRecord.for_dry_run(request, at=work.now, correlations=correlations)
        jobs: dict[str, JobState] = {intent.job: "queued" for intent in behind}
        found.append((record, Writes(requests=(record,), job_states=jobs)))
    return found
