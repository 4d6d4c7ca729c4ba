"""The numbers of the store in memory."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from worker.clock import time_of_id
from worker.ports import AccountStats, MemoryUsage, SweepStats, WorkerInfo
from worker.store.limits import FORGOTTEN
from worker.testing.store import MemoryStore


class MemoryMetrics:
    """Implements `ports.Metrics` over what a MemoryStore holds."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._tallies: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._workers: dict[str, WorkerInfo] = {}
        self._sweeps = SweepStats()

    def add(self, account: str, tally: Mapping[str, int]) -> None:
        """Count on."""
        self._tallies[account].update(tally)

    def account_stats(self, accounts: Sequence[str]) -> dict[str, AccountStats]:
        """How these accounts stand."""
        return {account: self._standing(account) for account in accounts}

    def record_heartbeat(self, worker: WorkerInfo) -> None:
        """The worker is alive; those that have not been for an hour are forgotten."""
        alive = {
            name: each
            for name, each in self._workers.items()
            if each.at >= worker.at - round(FORGOTTEN * 1e6)
        }
        self._workers = {**alive, worker.name: worker}

    def remove_worker(self, name: str) -> None:
        """The worker has ended."""
        self._workers.pop(name, None)

    def list_workers(self) -> list[WorkerInfo]:
        """Every worker that has not ended in peace."""
        return sorted(self._workers.values(), key=lambda each: each.name)

    def record_sweep(self, repaired: int, *, at: int) -> None:
        """A sweep was made."""
        self._sweeps = SweepStats(at, self._sweeps.made + 1, self._sweeps.repaired + repaired)

    def sweep_stats(self) -> SweepStats:
        """What there is to say of sweeps."""
        return self._sweeps

    def memory_usage(self) -> MemoryUsage:
        """Nothing that anybody counts."""
        return MemoryUsage()

    def _standing(self, account: str) -> AccountStats:
        state, now = self._store._state(account), self._store._now()
        counts, tally = dict(self._store.counts(account)), Counter(self._tallies[account])
        for deed in state.deeds.values():
            tally[f"deed:{deed.act}"] += deed.count
        return AccountStats(
            backlog=counts.pop("backlog"),
            oldest=state.jobs[state.inbox[0]].back_at or time_of_id(state.inbox[0].rpartition("-")[2])
            if state.inbox
            else 0,
            open=counts.pop("open"),
            begun=len(state.journal),
            unresolved=len(state.waiting(now)),
            counts=counts,
            tally={name: count for name, count in tally.items() if count},
            pause=state.pause,
        )
