"""A clock that stands still until a test moves it, and a lease keeper that goes with it."""

from contextlib import AbstractContextManager, nullcontext

from worker.ports.work import Lease


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
