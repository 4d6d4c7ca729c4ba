"""The system: what was found of it, its workers, the sweep, and what an account did over the last day."""

from collections.abc import Collection
from typing import TypedDict

from ops.serializers import write_document
from worker.contract import write_instant, write_optional_instant
from worker.ports.metrics import HistoryPoint, SweepStats, WorkerInfo


class FindingDict(TypedDict):
    """The result of a check: of what, how it is (`ok`, `warn`, `fail`), and what to do about it."""

    what: str
    level: str
    text: str
    todo: str


class FindingsDict(TypedDict):
    """The results of checking an account."""

    findings: list[FindingDict]


class WorkerDict(TypedDict):
    """A worker, how many processes it has, and when its last heartbeat was."""

    name: str
    hostname: str
    pid: int
    concurrency: int
    version: str
    at: str
    alive: bool


class SweepDict(TypedDict):
    """When the last sweep was, how many there were, and how many lost wake-ups they repaired."""

    at: str | None
    made: int
    repaired: int


class HealthReportDict(TypedDict):
    """How all is, which is the worst of what was found (`ok`, `warn`, `fail`); workers and the sweep."""

    verdict: str
    findings: list[FindingDict]
    workers: list[WorkerDict]
    sweep: SweepDict


class HistoryBucketDict(TypedDict):
    """What happened in a bucket that began `at`; `waiting` changes were in the inbox when it began."""

    at: str
    accepted: int
    actions: int
    requests: int
    applied: int
    superseded: int
    stale: int
    failed: int
    waiting: int


class HistoryDict(TypedDict):
    """What an account did over the last day; a bucket lasts until the next one, the last until now."""

    account: str
    seconds: int
    buckets: list[HistoryBucketDict]


def serialize_worker(worker: WorkerInfo, alive: Collection[WorkerInfo]) -> WorkerDict:
    """Return a worker as JSON."""
    return write_document(WorkerDict, worker, at=write_instant(worker.at), alive=worker in alive)


def serialize_bucket(bucket: HistoryPoint) -> HistoryBucketDict:
    """Return what happened in a bucket as JSON."""
    return write_document(HistoryBucketDict, bucket, at=write_instant(bucket.at))


def serialize_sweep(sweeps: SweepStats) -> SweepDict:
    """Return the sweeps as JSON."""
    return write_document(SweepDict, sweeps, at=write_optional_instant(sweeps.at))
