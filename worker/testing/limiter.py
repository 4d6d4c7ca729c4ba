"""The limiter in memory: for tests, the demo's dry runs and a single process. Proved equal to the one on Redis."""

import threading
import time
from collections.abc import Callable, Sequence

from worker.limiter import BreakerChange, Feedback, Grant, Pace, policy


class MemoryLimiter:
    """Paces like `RedisLimiter`, but its state ends with the process; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._states: dict[str, policy.State] = {}
        self._lock = threading.Lock()

    def book(
        self, account: str, *, rate: float, burst: int, max_wait: float, now: float | None = None
    ) -> Grant:
        """The next slot, booked, or when to come back."""
        with self._lock:
            state, grant = policy.book(
                self._get(account), self._now(now), rate=rate, burst=burst, max_wait=policy.ticks(max_wait)
            )
            self._states[account] = state
        return grant

    def report(
        self,
        account: str,
        feedback: Feedback,
        *,
        retry_after: float = 0.0,
        reason: str = "",
        now: float | None = None,
    ) -> BreakerChange:
        """Let an answer change the pace; what it did to the breaker."""
        held = policy.ticks(retry_after)
        with self._lock:
            before = self._get(account)
            self._states[account] = policy.report(
                before, self._now(now), feedback=feedback, retry_after=held, reason=reason
            )
            return policy.turn(before, self._states[account])

    def refund(self, account: str, grant: Grant) -> bool:
        """True if the slot was given back."""
        with self._lock:
            before = self._get(account)
            self._states[account] = policy.refund(before, grant)
            return self._states[account] != before

    def state(self, account: str) -> Pace:
        """The account's pace for operators."""
        return policy.describe(self._get(account))

    def states(self, accounts: Sequence[str]) -> dict[str, Pace]:
        """The same of many accounts."""
        return {account: self.state(account) for account in accounts}

    def reset(self, account: str) -> None:
        """Forget the account."""
        self._states.pop(account, None)

    def _get(self, account: str) -> policy.State:
        return self._states.get(account, policy.State())

    def _now(self, now: float | None) -> int:
        return policy.ticks(self._clock() if now is None else now)
