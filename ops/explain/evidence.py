"""Everything that is kept about one relation, collected from the store for `ops.explain.relation`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from worker.contract import Relation
from worker.planner.relation_state import RelationRecord
from worker.ports.queries import Queries, walk_pages
from worker.ports.records import JobFilter, JobRecord, RelationEvent
from worker.ports.requests import RequestRecord
from worker.ports.store import Store

PAGES: Final = 200  # of the index that are searched for jobs that still wait
PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is kept about a relation; `now` is the store's clock in µs."""

    relation: Relation
    record: RelationRecord
    events: Sequence[RelationEvent]  # in order of acceptance; those without a result are still open
    jobs: Mapping[str, JobRecord]
    requests: Mapping[str, RequestRecord]
    now: int
    upsert: bool = False  # whether a modify of an absent relation creates it
    why_not_sending: str = ""  # why nothing of the account is sent now


def collect_evidence(
    store: Store,
    queries: Queries,
    account: str,
    relation: Relation,
    *,
    now: int,
    since: int | None = 0,
    upsert: bool = False,
    why_not_sending: str = "",
) -> Evidence:
    """Collect the evidence.

    `since` (µs) is when the first waiting change of the account was accepted, None if none waits.
    """
    record, ended = store.relation_history(account, relation)
    waiting = [] if since is None else _find_waiting(queries, account, relation, since)
    results = {event.job: event.result for event in ended}
    unread = [RelationEvent(job.id, "", "") for job in reversed(waiting) if job.id not in results]
    jobs = queries.get_jobs(list(_named_jobs((*ended, *unread))))
    replayed = [
        RelationEvent(job, "", "")
        for job, result in results.items()
        if result == "failed" and _waits_again(jobs.get(job), relation)
    ]
    events = (*ended, *replayed, *unread)
    return Evidence(
        relation=relation,
        record=record,
        events=events,
        jobs=jobs,
        requests=_get_requests(store, account, jobs.values()),
        now=now,
        upsert=upsert,
        why_not_sending=why_not_sending,
    )


def _find_waiting(queries: Queries, account: str, relation: Relation, since: int) -> list[JobRecord]:
    """Find the jobs in the inbox that name the relation, newest first, as far back as `PAGES` go."""
    waiting = JobFilter(
        state="queued", type=relation.type, parent=relation.parent, child=relation.child, since=since
    )
    pages = walk_pages(lambda cursor: queries.find_jobs(account, waiting, limit=PAGE, cursor=cursor))
    return [job for page in islice(pages, PAGES) for job in page.entries]


def _waits_again(job: JobRecord | None, relation: Relation) -> bool:
    """Return whether a job that failed for the relation was put back into the inbox for it."""
    return job is not None and job.state == "queued" and relation not in job.failed


def _named_jobs(events: Sequence[RelationEvent]) -> Iterable[str]:
    """Return the jobs of the events, and the newer jobs that overruled them, each once."""
    newer = (event.detail for event in events if event.result in ("superseded", "stale"))
    return dict.fromkeys(filter(None, [*(event.job for event in events), *newer]))


def _get_requests(store: Store, account: str, jobs: Iterable[JobRecord]) -> dict[str, RequestRecord]:
    """Return the requests that the jobs travelled in, as far as they are still kept."""
    ids = dict.fromkeys(request for job in jobs for request in job.requests)
    return {request: kept for request in ids if (kept := store.get_request(account, request))}
