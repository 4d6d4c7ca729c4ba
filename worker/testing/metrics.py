"""The metrics of the store in memory."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from worker.clock import time_of_id
from worker.ports import AccountStats, MemoryUsage, SweepStats, WorkerInfo
from worker.store.limits import WORKER_LIFETIME
from worker.testing.store import MemoryStore
from worker.testing.stored import to_us


class MemoryMetrics:
    """Implements `ports.Metrics` over what a MemoryStore holds."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._tallies: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._workers: dict[str, WorkerInfo] = {}
        self._sweeps = SweepStats()

    def now(self) -> int:
        """Return the store's time."""
        return self._store._now()

    def add(self, account: str, tally: Mapping[str, int]) -> None:
        """Add to the account's counters."""
        self._tallies[account].update(tally)

    def account_stats(self, accounts: Sequence[str]) -> dict[str, AccountStats]:
        """Return the state of these accounts."""
        return {account: self._stats(account) for account in accounts}

    def record_heartbeat(self, worker: WorkerInfo) -> None:
        """Note that the worker is alive, and drop those that have been silent for an hour."""
        oldest = worker.at - to_us(WORKER_LIFETIME)
        self._workers = {name: other for name, other in self._workers.items() if other.at >= oldest}
        self._workers[worker.name] = worker

    def remove_worker(self, name: str) -> None:
        """Note that the worker has ended."""
        self._workers.pop(name, None)

    def list_workers(self) -> list[WorkerInfo]:
        """Return every worker that has not reported its end."""
        return sorted(self._workers.values(), key=lambda worker: worker.name)

    def record_sweep(self, repaired: int, *, at: int) -> None:
        """Count a sweep."""
        self._sweeps = SweepStats(at, self._sweeps.made + 1, self._sweeps.repaired + repaired)

    def sweep_stats(self) -> SweepStats:
        """Return the last sweep's time and the totals of all sweeps."""
        return self._sweeps

    def memory_usage(self) -> MemoryUsage:
        """Return zeros: nobody counts the memory of a test."""
        return MemoryUsage()

    def _stats(self, account: str) -> AccountStats:
        state = self._store._state(account)
        counts, tally = dict(self._store.counts(account)), self._tallies[account] + state.numbers
        for entry in state.audit_log.values():
            tally[f"deed:{entry.act}"] += entry.count
        oldest = 0
        if state.inbox:
            head = state.inbox[0]
            oldest = state.jobs[head].requeued_at or time_of_id(head.rpartition("-")[2])
        return AccountStats(
            backlog=counts.pop("backlog"),
            oldest=oldest,
            open=counts.pop("open"),
            begun=len(state.journal),
            unresolved=len(state.failed_jobs(self._store._now())),
            counts=counts,
            tally={name: count for name, count in tally.items() if count},
            pause=state.pause,
        )
