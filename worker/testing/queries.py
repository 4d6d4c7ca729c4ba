"""The queries of the store in memory; they look at everything, as they may with what a test holds."""

from collections.abc import Iterable, Mapping, Sequence

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
from worker.store.limits import COUNTED_STATES, MAX_EXAMINED
from worker.testing.account import AccountState
from worker.testing.store import MemoryStore


class MemoryQueries:
    """Implements `ports.Queries` over what a MemoryStore holds."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def find_jobs(self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = "") -> JobPage:
        """Return the jobs that match, newest first."""
        state, now, below = self._state(account), self._now(), int(cursor) if cursor else FOREVER
        numbers = [number for number in sorted(state.index, reverse=True) if number < below]
        if wanted.error or wanted.state == "failed":
            failed = set(state.failed_jobs(now))
            numbers = [number for number in numbers if state.index[number] in failed]
        found = list[JobRecord]()
        for number in numbers[:MAX_EXAMINED]:
            job = state.job(state.index[number], now)
            if job and _matches(job.record, wanted):
                found.append(job.record)
            if len(found) == limit:
                return JobPage(tuple(found), str(number))
        next_cursor = str(numbers[MAX_EXAMINED - 1]) if len(numbers) >= MAX_EXAMINED else ""
        return JobPage(tuple(found), next_cursor)

    def count_by_state(self, account: str) -> Mapping[str, int]:
        """Return the number of jobs by state, and of `unresolved` failures."""
        state, counts = self._state(account), self._store.counts(account)
        return {
            "queued": len(state.inbox),
            **{name: counts.get(name, 0) for name in COUNTED_STATES},
            "unresolved": len(state.failed_jobs(self._now())),
        }

    def get_states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the states of these jobs, without those that are not there (any more)."""
        return {job: record.state for job, record in self.get_jobs(jobs).items()}

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        """Return these jobs, without those that are not there (any more)."""
        return {job: record for job in jobs if (record := self._store.get_job(job))}

    def get_records(self, account: str, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what is open and known of these relations now."""
        return {relation: self._state(account).record(relation, self._now()) for relation in relations}

    def failure_groups(self, account: str) -> list[FailureGroup]:
        """Return the failed jobs that wait for a decision by error and type, the largest group first."""
        groups: dict[tuple[int, str, str], list[JobRecord]] = {}
        for record in self.get_jobs(self._state(account).failed_jobs(self._now())).values():
            code, error, *_ = record.refusal or (0, "other")
            groups.setdefault((code, error, record.type), []).append(record)
        found = list[FailureGroup]()
        for key, jobs in groups.items():
            first, last = sorted((jobs[0].finished_at, jobs[-1].finished_at))
            found.append(FailureGroup(*key, len(jobs), first, last, jobs[-1].id))
        return sorted(found, key=lambda group: (-group.jobs, group.code, group.error, group.type))

    def list_requests(self, account: str, *, limit: int = 50, cursor: str = "") -> RequestPage:
        """Return what was sent and answered, newest first."""
        requests = self._state(account).requests
        ids = list(reversed(requests))
        start = ids.index(cursor) + 1 if cursor else 0
        page = ids[start : start + limit]
        kept = tuple(requests[id_].record for id_ in page if self._now() < requests[id_].expires)
        return RequestPage(kept, page[-1] if len(page) == limit else "")

    def _state(self, account: str) -> AccountState:
        return self._store._state(account)

    def _now(self) -> int:
        return self._store._now()


def _matches(job: JobRecord, wanted: JobFilter) -> bool:
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
        and wanted.failed_since <= job.finished_at
        and (not wanted.failed_until or job.finished_at < wanted.failed_until)
    )
