"""The use case: find work whose message was lost (R22), and let indexes forget what is no longer kept.

Each sweep does a bounded amount of work, on accounts drawn by chance, so that all have their turn.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from worker.contract.instant import SECOND
from worker.contract.message import UNROUTED
from worker.errors import StoreUnavailable, StoreUnreadable, Unavailable
from worker.ports import EventSink, Wake
from worker.ports.deliveries import Deliveries
from worker.ports.integrity import StoreFlaw, describe_flaws
from worker.ports.job_admin import JobAdmin
from worker.ports.metrics import HISTORY_SECONDS, Metrics, SweepStats
from worker.ports.store import Store

MAX_ACCOUNTS = 5000  # accounts one sweep looks at, which bounds the messages it can add to the queue
MAX_REPLAY_ACCOUNTS = 20  # accounts of which one sweep looks for replays that stand still
STALLED_AFTER = 60.0  # seconds without progress of a replay: a piece takes less than one
# Parts of an index that one sweep tidies: 5,000 jobs each time are far more than can be kept for a day.
TIDIED_PARTS = 5
RESTED_SWEEPS = 30  # sweeps, a minute, for which an account that was tidied to its end is left alone
INSPECTED_ACCOUNTS = 5  # accounts of which one sweep looks whether their data contradicts itself
TIDIED_SOURCES = 2  # webhooks of which one sweep lets old deliveries go
CLOCK_JITTER = 2.0  # seconds by which the nodes of a store may differ


@dataclass(slots=True, kw_only=True)
class Sweeper:
    """Sweeps the accounts of the settings; `fingerprint_of` gives that of an account's credentials (R20).

    `mend` mends an account that shows signs of a contradiction, if it is small and nobody works it.
    """

    store: Store
    job_admin: JobAdmin
    metrics: Metrics
    deliveries: Deliveries
    list_accounts: Callable[[], Iterable[str]]
    fingerprint_of: Callable[[str], str]
    wake: Wake
    mend: Callable[[str], Sequence[StoreFlaw]]
    emit: EventSink
    _sweeps: int = 0
    _tidy_cursors: dict[str, int] = field(default_factory=dict)
    _rests_until: dict[str, int] = field(default_factory=dict)  # account → the sweep that tidies it again
    _behind: dict[str, int] = field(default_factory=dict)  # accounts to be brought forward by so many µs
    _unreadable: set[str] = field(default_factory=set)  # accounts that were told of
    _noted: int = -1  # the last bucket of the accounts' history that this process noted
    _seen: SweepStats = field(default_factory=SweepStats)  # what this process read last of all sweeps

    def sweep(self) -> int:
        """Send the flush messages that are missing, and return how many."""
        # Not the registry's accounts: in a cluster it may be away while accounts are not.
        accounts = _sample(self.list_accounts(), MAX_ACCOUNTS)
        with suppress(StoreUnavailable):
            seen = self._seen  # before the store is asked: threads may overtake each other
            stats, now = self.metrics.sweep_stats(), self.metrics.now()
            self._compare(seen, stats, now)
            self._seen = stats
            self._follow_clock(stats, now)
        due = self.store.due_accounts(
            accounts, credentials={account: self.fingerprint_of(account) for account in accounts}
        )
        for account in due:
            self.wake(account, 0.0)
        with suppress(StoreUnavailable):
            self.metrics.record_sweep(len(due), at=(now := self.metrics.now()))
            self._note_history(accounts, now)
        known = self.store.accounts()
        self._tidy(known)
        self._mend(known)
        self._tidy_deliveries()
        return len(due)

    def _compare(self, seen: SweepStats, stats: SweepStats, now: int) -> None:
        """Tell, once of all processes, if the store has fewer sweeps than it had: it went back."""
        if stats.made < seen.made and stats.reverted <= seen.reverted:
            self.metrics.record_reverted(at=now)
            lost = round((seen.at - stats.at) / SECOND, 1) if stats.at else None
            self.emit("store.reverted", seconds=lost)

    def _follow_clock(self, stats: SweepStats, now: int) -> None:
        """Bring forward what is dated ahead, if the store's clock was set back since the last sweep.

        An account that cannot be written at that moment follows with a later sweep of this process.
        """
        back, moved = stats.at - now, 0
        has_stepped = back > CLOCK_JITTER * SECOND
        if has_stepped:
            for account in (*self.list_accounts(), UNROUTED):
                self._behind[account] = self._behind.get(account, 0) + back
        for account, by in list(self._behind.items()):
            with suppress(Unavailable):
                moved += self.store.bring_forward(account, by)
                self._behind.pop(account, None)
                back = max(back, by)
        if has_stepped or moved:
            self.emit("clock.stepped", seconds=round(back / SECOND, 1), moved=moved)

    def stalled_replays(self) -> list[str]:
        """Return stalled replays of a few accounts; when the store is away, those found so far."""
        stalled = list[str]()
        with suppress(StoreUnavailable):
            for account in _sample([*self.list_accounts(), UNROUTED], MAX_REPLAY_ACCOUNTS):
                with self._apart(account):
                    stalled.extend(self._touch_stalled(account))
        return stalled

    def _touch_stalled(self, account: str) -> Iterator[str]:
        """Yield the stalled replays of an account, each once it counts as given to a worker."""
        for replay_id in self.job_admin.stalled_replays(account, STALLED_AFTER):
            self.job_admin.touch_replay(replay_id)
            yield replay_id

    @contextmanager
    def _apart(self, account: str) -> Iterator[None]:
        """Go on with other accounts where what is stored of this one cannot be read; tell of it once."""
        try:
            yield
        except StoreUnreadable as error:
            if account not in self._unreadable:
                self.emit("store.unavailable", account=account, error=str(error))
            self._unreadable.add(account)

    def _note_history(self, accounts: list[str], now: int) -> None:
        """Let the store note the counters of the accounts, once per bucket."""
        if self._noted != (bucket := now // 1_000_000 // HISTORY_SECONDS):
            self.metrics.record_history(accounts, at=now)
            self._noted = bucket

    def _tidy(self, accounts: Sequence[str]) -> None:
        """Let indexes forget, also those of accounts that have left the settings."""
        self._sweeps += 1
        due = [account for account in accounts if self._rests_until.get(account, 0) <= self._sweeps]
        for account in random.choices(due, k=TIDIED_PARTS) if due else ():
            if self._rests_until.get(account, 0) <= self._sweeps:
                cursor = 0
                with self._apart(account):
                    cursor = self.store.tidy(account, self._tidy_cursors.get(account, 0))
                self._tidy_cursors[account] = cursor
                self._rests_until[account] = 0 if cursor else self._sweeps + RESTED_SWEEPS

    def _tidy_deliveries(self) -> None:
        """Let old deliveries go; where that cannot be done now, a later sweep does it."""
        with suppress(Unavailable):
            for source in _sample(self.deliveries.sources(), TIDIED_SOURCES):
                self.deliveries.tidy(source)

    def _mend(self, accounts: Sequence[str]) -> None:
        """Mend accounts whose data contradicts itself, and tell of it."""
        for account in _sample(accounts, INSPECTED_ACCOUNTS):
            with suppress(Unavailable), self._apart(account):
                if flaws := self.mend(account):
                    kinds = Counter(f"mended:{flaw.kind}" for flaw in flaws)
                    self.metrics.add(account, kinds)
                    self.emit("store.mended", account=account, **describe_flaws(flaws))
                    self.wake(account, 0.0)


def _sample(accounts: Iterable[str], size: int) -> list[str]:
    listed = list(accounts)
    return random.sample(listed, min(len(listed), size))
