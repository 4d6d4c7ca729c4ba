"""What people and monitors ask of the store: one script or pipeline each, over bounded entries."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from worker.clock import id_prefix
from worker.contract import Relation
from worker.ports import (
    FailureGroup,
    JobFilter,
    JobPage,
    JobRecord,
    JobState,
    RelationRecord,
    RequestPage,
    RequestRecord,
)
from worker.redis.client import Client, translate_errors
from worker.store import codec, keys
from worker.store.limits import CLOCK_SLACK_US, COUNTED_STATES, MAX_EXAMINED
from worker.store.scripts import StoreClient


class RedisQueries:
    """Implements `ports.Queries`."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = StoreClient(client, prefix)

    def find_jobs(self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = "") -> JobPage:
        """Return the jobs that match, newest first; a page may hold few or none and still have a next one."""
        ids = {
            "first": id_prefix(wanted.since - CLOCK_SLACK_US) if wanted.since else "",
            "last": id_prefix(wanted.until + CLOCK_SLACK_US) if wanted.until else "",
        }
        packed = codec.pack(msgspec.structs.asdict(wanted) | ids)
        next_cursor, rows = self._client.run("find_jobs", account, packed, limit, cursor, MAX_EXAMINED)
        jobs = (codec.job(job.decode(), _to_dict(fields)) for job, fields in rows)
        return JobPage(tuple(jobs), next_cursor.decode())

    def count_by_state(self, account: str) -> Mapping[str, int]:
        """Return the number of jobs by state (open: now, ended: in all), and of `unresolved` failures."""
        with translate_errors(), self._client.redis.pipeline(transaction=False) as pipeline:
            pipeline.llen(self._client.key(account, "inbox"))
            pipeline.get(self._client.key(account, "dead"))
            pipeline.zcard(self._client.key(account, "failed"))
            pipeline.hmget(self._client.key(account, "counts"), COUNTED_STATES)
            listed, dead, unresolved, counts = pipeline.execute()
        ended = {state: int(count or 0) for state, count in zip(COUNTED_STATES, counts, strict=True)}
        return {"queued": listed - int(dead or 0), **ended, "unresolved": unresolved}

    def get_states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the states of these jobs, without those that are not there (any more)."""
        with translate_errors(), self._client.redis.pipeline(transaction=False) as pipeline:
            for job in jobs:
                pipeline.hget(self._job_key(job), "s")
            states = zip(jobs, pipeline.execute(), strict=True)
        return {job: state.decode() for job, state in states if state}

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        """Return these jobs, without those that are not there (any more)."""
        with translate_errors(), self._client.redis.pipeline(transaction=False) as pipeline:
            for job in jobs:
                pipeline.hgetall(self._job_key(job))
            rows = zip(jobs, pipeline.execute(), strict=True)
        return {job: codec.job(job, row) for job, row in rows if row}

    def get_records(self, account: str, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what is open and known of these relations now."""
        names, records = [str(relation) for relation in relations], dict[Relation, RelationRecord]()
        for start in range(0, len(names), MAX_EXAMINED):
            rows = self._client.run("get_records", account, *names[start : start + MAX_EXAMINED])
            records |= codec.records(rows)
        return records

    def failure_groups(self, account: str) -> list[FailureGroup]:
        """Return the failed jobs that wait for a decision by error and type, the largest group first."""
        groups = [_read_failure_group(row) for row in self._client.run("failure_groups", account)]
        return sorted(groups, key=lambda group: (-group.jobs, group.code, group.error, group.type))

    def list_requests(self, account: str, *, limit: int = 50, cursor: str = "") -> RequestPage:
        """Return what was sent and answered, newest first."""
        key, redis = self._client.key(account, "requests"), self._client.redis
        with translate_errors():
            start = redis.lpos(key, cursor) if cursor else -1
            if start is None:  # the cursor's request is so old that the list has dropped it
                return RequestPage((), "")
            ids = [id_.decode() for id_ in redis.lrange(key, start + 1, start + limit)]
            rows = redis.mget([self._client.key(account, f"request:{id_}") for id_ in ids]) if ids else []
        requests = tuple(msgspec.json.decode(row, type=RequestRecord) for row in rows if row)
        return RequestPage(requests, ids[-1] if len(ids) == limit else "")

    def _job_key(self, job_id: str) -> str:
        return self._client.key(keys.account_of(job_id), f"job:{job_id}")


def _to_dict(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _read_failure_group(row: list[Any]) -> FailureGroup:
    group, jobs, first, last, example = row
    code, error, relation_type = group.decode().split(" ")
    first, last = sorted((int(first), int(last)))  # the job accepted first may have ended last
    return FailureGroup(int(code), error, relation_type, jobs, first, last, example.decode())
