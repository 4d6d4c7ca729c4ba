"""Fakes for your tests, so that nothing has to be mocked: store and limiter in memory, and a clock.

They implement the same ports as the adapters on Redis, the store's with the same code over a dictionary;
state machine tests prove them equal.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from worker.contract.instant import to_us
from worker.limiter import policy
from worker.limiter.policy import PaceState
from worker.ports.pace import BreakerChange, Feedback, Grant, Pace
from worker.ports.store import Retention
from worker.ports.work import Lease
from worker.store.redis_store import RedisStore
from worker.testing.server import MemoryServer


class FakeClock:
    """Implements `ports.Clock`; its `now` is for a store. Sleeping takes no time."""

    def __init__(self, now: int = 1_800_000_000_000_000) -> None:
        self._start = self._now = now

    def now(self) -> int:
        """Return microseconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        return (self._now - self._start) / 1e6

    def advance(self, seconds: float) -> None:
        """Move the clock forward, or back."""
        self._now += round(seconds * 1e6)

    sleep = advance


def skip_renewal(lease: Lease) -> AbstractContextManager[object]:
    """Keep a lease without renewing it: a `ports.LeaseKeeper` for tests, whose clock does not run."""
    return nullcontext(lease)


class MemoryStore(RedisStore):
    """Implements `ports.Store`; `now` gives microseconds since the epoch.

    What stands beside a store, such as its queries, takes its `database`.
    """

    def __init__(
        self, now: Callable[[], int], *, keep: Callable[[str], Retention] = lambda _: Retention()
    ) -> None:
        server: Any = MemoryServer(now)
        super().__init__(server, "memory", keep=keep, now=now)


class MemoryLimiter:
    """Implements `ports.Limiter`; its state ends with the process, and threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._states: dict[str, PaceState] = {}
        self._lock = threading.Lock()

    def book(
        self, account: str, *, rate: float, burst: int, max_wait: float, now: float | None = None
    ) -> Grant:
        """Return the next slot, booked, or when to come back."""
        longest = to_us(max_wait)
        with self._lock:
            self._states[account], grant = policy.book(
                self._get(account), self._now(now), rate=rate, burst=burst, max_wait=longest
            )
        return grant

    def peek(self, account: str, *, rate: float, burst: int, max_wait: float, now: float) -> Grant:
        """Return what `book` would answer then, booking nothing."""
        longest = to_us(max_wait)
        return policy.book(self._get(account), self._now(now), rate=rate, burst=burst, max_wait=longest)[1]

    def report(
        self,
        account: str,
        feedback: Feedback,
        *,
        retry_after: float = 0.0,
        reason: str = "",
        now: float | None = None,
    ) -> BreakerChange:
        """Let an answer change the pace; return what it did to the breaker."""
        stop = to_us(retry_after)
        with self._lock:
            before = self._get(account)
            after = policy.report(before, self._now(now), feedback=feedback, retry_after=stop, reason=reason)
            self._states[account] = after
        return policy.breaker_change(before, after)

    def refund(self, account: str, grant: Grant) -> bool:
        """Give a booked slot back; return whether that was possible."""
        with self._lock:
            before = self._get(account)
            self._states[account] = policy.refund(before, grant)
            return self._states[account] != before

    def state(self, account: str) -> Pace:
        """Return the account's pace for operators."""
        return policy.describe(self._get(account))

    def states(self, accounts: Sequence[str]) -> dict[str, Pace]:
        """Return the paces of these accounts."""
        return {account: self.state(account) for account in accounts}

    def reset(self, account: str) -> None:
        """Forget the account."""
        self._states.pop(account, None)

    def _get(self, account: str) -> PaceState:
        return self._states.get(account, PaceState())

    def _now(self, now: float | None) -> int:
        return to_us(self._clock() if now is None else now)
