"""What people and monitors ask of the store on Redis: one script or one pipeline each, over a bounded number of entries."""

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
from worker.redis.client import Client, available, script
from worker.store import codec, keys
from worker.store.limits import EXAMINED, SLACK, STATES


class RedisQueries:
    """Implements `ports.Queries`."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client: Any = client  # answers bytes, at once; see RedisStore
        self._prefix = prefix
        self._find = script(client, "worker.store", "find", "find")
        self._failures, self._records = (
            script(client, "worker.store", "failures"),
            script(client, "worker.store", "records"),
        )

    def find_jobs(self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = "") -> JobPage:
        """Jobs that fit, newest first; a page may hold few or none and still have a next one."""
        asked = msgspec.structs.asdict(wanted) | {
            "first": id_prefix(wanted.since - SLACK) if wanted.since else "",
            "last": id_prefix(wanted.until + SLACK) if wanted.until else "",
        }
        with available():
            last, rows = self._find(
                keys=[keys.base(self._prefix, account)], args=[codec.pack(asked), limit, cursor, EXAMINED]
            )
        found = ((name.decode(), dict(zip(flat[::2], flat[1::2], strict=True))) for name, flat in rows)
        return JobPage(tuple(codec.job(account, name, row) for name, row in found), last.decode())

    def count_by_state(self, account: str) -> Mapping[str, int]:
        """Jobs by state: those open now, those that ended since the account's beginning, and `unresolved` failures."""
        with available(), self._client.pipeline(transaction=False) as pipeline:
            pipeline.llen(self._key(account, "inbox"))
            pipeline.get(self._key(account, "dead"))
            pipeline.zcard(self._key(account, "failed"))
            pipeline.hmget(self._key(account, "counts"), STATES)
            listed, dead, unresolved, counts = pipeline.execute()
        queued = listed - int(dead or 0)
        return {
            "queued": queued,
            **{name: int(count or 0) for name, count in zip(STATES, counts, strict=True)},
            "unresolved": unresolved,
        }

    def get_states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """The states of these jobs; what is not there (any more) is left out."""
        with available(), self._client.pipeline(transaction=False) as pipeline:
            for job in jobs:
                pipeline.hget(self._key(job.rpartition("-")[0], f"job:{job}"), "s")
            return {job: state.decode() for job, state in zip(jobs, pipeline.execute(), strict=True) if state}

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        """These jobs; what is not there (any more) is left out."""
        with available(), self._client.pipeline(transaction=False) as pipeline:
            for job in jobs:
                pipeline.hgetall(self._key(job.rpartition("-")[0], f"job:{job}"))
            rows = zip(jobs, pipeline.execute(), strict=True)
        return {job: codec.job(job.rpartition("-")[0], job, row) for job, row in rows if row}

    def get_records(self, account: str, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """What is open and known of these relations now."""
        names, found = [str(relation) for relation in relations], dict[Relation, RelationRecord]()
        for start in range(0, len(names), EXAMINED):
            with available():
                found |= codec.records(
                    self._records(
                        keys=[keys.base(self._prefix, account)], args=names[start : start + EXAMINED]
                    )
                )
        return found

    def failure_groups(self, account: str) -> list[FailureGroup]:
        """What waits for a decision, by error and type, the most jobs first."""
        with available():
            rows = self._failures(keys=[keys.base(self._prefix, account)], args=[])
        return sorted(
            (_failure(row) for row in rows), key=lambda each: (-each.jobs, each.code, each.error, each.type)
        )

    def list_requests(self, account: str, *, limit: int = 50, cursor: str = "") -> RequestPage:
        """What was sent and answered, newest first."""
        with available():
            start = self._client.lpos(self._key(account, "requests"), cursor) if cursor else -1
            if start is None:  # it is so old that the list has forgotten it
                return RequestPage((), "")
            names = [
                name.decode()
                for name in self._client.lrange(self._key(account, "requests"), start + 1, start + limit)
            ]
            rows = (
                self._client.mget([self._key(account, f"request:{name}") for name in names]) if names else []
            )
        found = tuple(msgspec.json.decode(row, type=RequestRecord) for row in rows if row)
        return RequestPage(found, names[-1] if len(names) == limit else "")

    def _key(self, account: str, name: str) -> str:
        return f"{keys.base(self._prefix, account)}:{name}"


def _failure(row: list[Any]) -> FailureGroup:
    group, jobs, first, last, example = row
    code, error, name = group.decode().split(" ")
    first, last = sorted((int(first), int(last)))  # the first accepted may have ended last
    return FailureGroup(int(code), error, name, jobs, first, last, example.decode())
