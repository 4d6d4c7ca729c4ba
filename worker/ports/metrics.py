"""Counters, and the state of every account, worker and sweep, for monitors; no change passes here."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from worker.planner.fold import RESULTS
from worker.ports.pace import Pause
from worker.ports.records import OPEN_STATES

BOUNDS: Final[Mapping[str, tuple[float, ...]]] = {
    "latency": (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    "waited": (0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0),
}
"""The upper bounds of the buckets of each histogram, in seconds; one more bucket has no bound."""


class AccountStats(NamedTuple):
    """The state of one account.

    `backlog` is the number of changes in the inbox and `oldest` when the first was accepted (µs; 0: none),
    `open` the number of open relations, `begun` of requests that were begun and not settled, `unresolved` of
    failed jobs that need a decision. `counts` are the store's counters, which say what is true now: a failure
    that was put back is none any more. `tally` has what only rises: outcomes and failures as they were
    written, counters of flushes and of operators' actions. The pause may be over.
    """

    backlog: int
    oldest: int
    open: int
    begun: int
    unresolved: int
    counts: Mapping[str, int]
    tally: Mapping[str, int]
    pause: Pause | None

    @property
    def open_jobs(self) -> dict[str, int]:
        """The number of open jobs by state.

        What a flush has taken is sent only while a request is begun; without one, it is held.
        """
        open_jobs: dict[str, int] = {state: self.counts.get(state, 0) for state in OPEN_STATES}
        if not self.begun:
            open_jobs["held"] += open_jobs["sending"]
            open_jobs["sending"] = 0
        return {**open_jobs, "queued": self.backlog}


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process, and when its last heartbeat was (µs, by the store's clock)."""

    name: str
    hostname: str
    pid: int
    concurrency: int
    version: str
    at: int


class SweepStats(NamedTuple):
    """When the last sweep was (µs; 0: never), how many there were, and how many wake-ups they repaired.

    `reverted` is when a sweep found that the store had gone back to an earlier state (µs; 0: never).
    """

    at: int = 0
    made: int = 0
    repaired: int = 0
    reverted: int = 0


HISTORY_SECONDS: Final = 300  # of one bucket of an account's history
HISTORY_BUCKETS: Final = 288  # that are kept: a day


class HistoryPoint(NamedTuple):
    """What an account's counters had risen to when a bucket of its history began (`at`, µs).

    `waiting` is no counter: how many changes were in the inbox then.
    """

    at: int
    accepted: int
    actions: int
    requests: int
    applied: int
    superseded: int
    stale: int
    failed: int
    waiting: int

    @classmethod
    def of(cls, at: int, stats: AccountStats) -> "HistoryPoint":
        """Return the point of an account's state."""
        counts = {name: stats.counts.get(name, 0) for name in ("accepted", "actions", "requests")}
        outcomes = {name: stats.tally.get(f"outcomes:{name}", 0) for name in RESULTS}
        return cls(at, **counts, **outcomes, waiting=stats.backlog)


class MemoryUsage(NamedTuple):
    """The memory that the store uses and may use, in bytes; `limit` is 0 if there is none."""

    used: int = 0
    limit: int = 0


class Metrics(Protocol):
    """Metrics in the store, the same for every process; reading all accounts costs two round trips."""

    def now(self) -> int:
        """Return the store's time (µs), by which heartbeats and sweeps are dated."""

    def add(self, account: str, tally: Mapping[str, int]) -> None:
        """Add to the account's counters; lost if the store is away: a number is no reason to fail."""

    def account_stats(self, accounts: Sequence[str]) -> Mapping[str, AccountStats]:
        """Return the state of these accounts, without those that cannot be read.

        Raises StoreUnreadable for an account that is alone.
        """

    def record_heartbeat(self, worker: WorkerInfo) -> None:
        """Note that the worker is alive; those without a heartbeat for an hour are forgotten."""

    def remove_worker(self, name: str) -> None:
        """Forget a worker that has shut down."""

    def record_sweep(self, repaired: int, *, at: int) -> None:
        """Note that a sweep was made at a time (µs), and how many wake-ups it repaired."""

    def record_reverted(self, *, at: int) -> None:
        """Note that the store was found to have gone back to an earlier state, at a time (µs)."""

    def sweep_stats(self) -> SweepStats:
        """Return when the last sweep was, and how many there were."""

    def record_history(self, accounts: Sequence[str], *, at: int) -> None:
        """Note what the counters of the accounts are at a time (µs), once per bucket of `HISTORY_SECONDS`."""

    def history(self, account: str) -> Sequence[HistoryPoint]:
        """Return what was noted within the last `HISTORY_BUCKETS` buckets, oldest first."""
