"""What is asked of the store in memory; it looks at everything, as it may with what a test holds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from worker.contract import Relation
from worker.ports import (
    FOREVER,
    FailureGroup,
    JobFilter,
    JobPage,
    JobRecord,
    JobState,
    RelationRecord,
    RequestPage,
)
from worker.store.limits import EXAMINED, STATES
from worker.testing.account import AccountState
from worker.testing.store import MemoryStore


class MemoryQueries:
    """Implements `ports.Queries` over what a MemoryStore holds."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def find_jobs(self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = "") -> JobPage:
        """Jobs that fit, newest first."""
        held, below, found = self._held(account), int(cursor) if cursor else FOREVER, list[JobRecord]()
        numbers = [number for number in sorted(held.index, reverse=True) if number < below]
        if wanted.error or wanted.state == "failed":
            waiting = set(held.waiting(self._now()))
            numbers = [number for number in numbers if held.index[number] in waiting]
        for number in numbers[:EXAMINED]:
            job = held.job(held.index[number], self._now())
            if job and _fits(job.record, wanted):
                found.append(job.record)
            if len(found) == limit:
                return JobPage(tuple(found), str(number))
        return JobPage(tuple(found), str(numbers[EXAMINED - 1]) if len(numbers) >= EXAMINED else "")

    def count_by_state(self, account: str) -> Mapping[str, int]:
        """Jobs by state."""
        held = self._held(account)
        counts = self._store.counts(account)
        return {
            "queued": len(held.inbox),
            **{name: counts.get(name, 0) for name in STATES},
            "unresolved": len(held.waiting(self._now())),
        }

    def get_states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """The states of these jobs; what is not there (any more) is left out."""
        return {job: record.state for job in jobs if (record := self._store.get_job(job))}

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        """These jobs; what is not there (any more) is left out."""
        return {job: record for job in jobs if (record := self._store.get_job(job))}

    def get_records(self, account: str, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """What is open and known of these relations now."""
        return {relation: self._held(account).record(relation, self._now()) for relation in relations}

    def failure_groups(self, account: str) -> list[FailureGroup]:
        """What waits for a decision, by error and type, the most jobs first."""
        groups: dict[tuple[int, str, str], list[JobRecord]] = {}
        for record in self._waiting(account):
            code, error, *_ = record.refusal or (0, "other")
            groups.setdefault((code, error, record.type), []).append(record)
        found = list[FailureGroup]()
        for key, jobs in groups.items():
            first, last = sorted((jobs[0].finished_at, jobs[-1].finished_at))
            found.append(FailureGroup(*key, len(jobs), first, last, jobs[-1].id))
        return sorted(found, key=lambda each: (-each.jobs, each.code, each.error, each.type))

    def list_requests(self, account: str, *, limit: int = 50, cursor: str = "") -> RequestPage:
        """What was sent and answered, newest first."""
        requests = self._held(account).requests
        names = list(reversed(requests))
        start = names.index(cursor) + 1 if cursor else 0
        page = names[start : start + limit]
        kept = tuple(requests[name].record for name in page if self._now() < requests[name].ends)
        return RequestPage(kept, page[-1] if len(page) == limit else "")

    def _waiting(self, account: str) -> Iterator[JobRecord]:
        held = self._held(account)
        jobs = (held.job(name, self._now()) for name in held.waiting(self._now()))
        return (job.record for job in jobs if job)

    def _held(self, account: str) -> AccountState:
        return self._store._state(account)

    @property
    def _now(self) -> Callable[[], int]:
        return self._store._now


def _fits(job: JobRecord, wanted: JobFilter) -> bool:
    code, error = (str(job.refusal[0]), job.refusal[1]) if job.refusal else ("0", "other")
    return (
        wanted.state in ("", job.state)
        and wanted.type in ("", job.type)
        and (not wanted.parent or wanted.parent in job.parents)
        and (not wanted.child or wanted.child in job.children)
        and (not wanted.error or (job.state == "failed" and wanted.error in (code, error)))
        and wanted.source in ("", job.source)
        and wanted.batch in ("", job.batch)
        and wanted.since <= job.accepted_at
        and (not wanted.until or job.accepted_at < wanted.until)
    )
