"""What is counted, and how every account, worker and sweep stands, for monitors; nothing here is on the way of a change."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from worker.planner.actions import Reply, Request, Verdict
from worker.planner.apply_reply import RelationOutcome
from worker.ports.records import Pause
from worker.ports.services import Feedback
from worker.ports.work import ClaimedJob

BOUNDS: Final[Mapping[str, tuple[float, ...]]] = {
    "latency": (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    "waited": (0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0),
}
"""Seconds up to which the buckets of a histogram reach; the last one has no bound."""


class FlushCounters(Counter[str]):
    """What one flush counts, under `name:label`; added to the account's numbers when it ends.

    Names and labels are words of the code, never ids, so that the numbers of an account stay a bounded set.
    """

    def count(self, name: str, label: str, by: int = 1) -> None:
        """So many more."""
        if by:
            self[f"{name}:{label}"] += by

    def time(self, name: str, seconds: float) -> None:
        """One more that took so long; into a bucket if `name` has any."""
        if name in BOUNDS:
            self[f"{name}:{next((bound for bound in BOUNDS[name] if seconds <= bound), math.inf):g}"] += 1
        self[f"{name}:us"] += round(seconds * 1e6)

    def take(self, jobs: Sequence[ClaimedJob], *, now: int) -> None:
        """Changes left the inbox."""
        self.count("changes", "taken", len(jobs))
        for job in jobs:
            if job.accepted_at:
                self.time("waited", (now - job.accepted_at) / 1e6)

    def send(self, request: Request, reply: Reply, feedback: Feedback) -> None:
        """A request was answered, or not."""
        self.count("requests", feedback)
        self.time("latency", reply.seconds)
        for action, outcome in zip(request.actions, reply.results, strict=True):
            relations = len(action.relations)
            self.count("actions", action.kind)
            self.count("carried", action.kind, relations)
            self.count(
                "answers",
                outcome.error.value if outcome.verdict is Verdict.REJECTED else outcome.verdict.value,
            )
            if outcome.verdict is Verdict.UNKNOWN and action.kind != "get":
                self.count("doubts", "relations", relations)
            if outcome.verdict is Verdict.REJECTED and action.kind != "get" and relations > 1:
                self.count("splits", "stars")

    def settle(self, settled: Iterable[RelationOutcome]) -> None:
        """Outcomes fell."""
        for entry in settled:
            self.count("outcomes", entry.result)
            if entry.result == "failed":
                self.count("failures", entry.refusal.error if entry.refusal else "other")


class AccountStats(NamedTuple):
    """How one account stands: changes in the inbox and when their first was accepted (µs; 0: none), open relations, requests begun
    and not settled, failed jobs that wait for a decision, the store's counters, those of flushes and deeds, and the pause, which may
    be over."""

    backlog: int
    oldest: int
    open: int
    begun: int
    unresolved: int
    counts: Mapping[str, int]
    tally: Mapping[str, int]
    pause: Pause | None


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that told it is alive, and when (µs, by its own clock)."""

    name: str
    hostname: str
    pid: int
    concurrency: int
    version: str
    at: int


class SweepStats(NamedTuple):
    """When the last sweep was (µs; 0: never), how many there were, and how many wake-ups they repaired."""

    at: int = 0
    made: int = 0
    repaired: int = 0


class MemoryUsage(NamedTuple):
    """What the store uses and may use, in bytes; `most` is 0 where it has no bound."""

    used: int = 0
    most: int = 0


class Metrics(Protocol):
    """Kept with the store, so that every process tells the same; a reading costs two round trips for all accounts."""

    def add(self, account: str, tally: Mapping[str, int]) -> None:
        """Count on. What cannot be written is not counted: a number is no reason to fail."""

    def account_stats(self, accounts: Sequence[str]) -> Mapping[str, AccountStats]:
        """How these accounts stand."""

    def record_heartbeat(self, worker: WorkerInfo) -> None:
        """The worker is alive; those that have not been for an hour are forgotten."""

    def remove_worker(self, name: str) -> None:
        """The worker has ended."""

    def list_workers(self) -> Sequence[WorkerInfo]:
        """Every worker that has not ended in peace."""

    def record_sweep(self, repaired: int, *, at: int) -> None:
        """A sweep was made."""

    def sweep_stats(self) -> SweepStats:
        """What there is to say of sweeps."""

    def memory_usage(self) -> MemoryUsage:
        """How full the store is."""
