"""The limiter in memory, for tests and a single process; a state machine test proves it equal to Redis's."""

import threading
import time
from collections.abc import Callable, Sequence

from worker.limiter import policy
from worker.limiter.policy import PaceState
from worker.ports.services import BreakerChange, Feedback, Grant, Pace


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
        longest = policy.to_us(max_wait)
        with self._lock:
            self._states[account], grant = policy.book(
                self._get(account), self._now(now), rate=rate, burst=burst, max_wait=longest
            )
        return grant

    def peek(self, account: str, *, rate: float, burst: int, max_wait: float, now: float) -> Grant:
        """Return what `book` would answer then, booking nothing."""
        longest = policy.to_us(max_wait)
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
        stop = policy.to_us(retry_after)
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
        return policy.to_us(self._clock() if now is None else now)
