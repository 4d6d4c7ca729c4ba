"""Time that stands still until it is told to move, and a keeper for leases under it."""

from contextlib import AbstractContextManager, nullcontext

from worker.ports import Lease


class FakeClock:
    """Implements `ports.Clock`; `now` is handed to a store. Sleeping takes no time, it only moves the clock."""

    def __init__(self, now: int = 1_800_000_000_000_000) -> None:
        self._start = self._now = now

    def now(self) -> int:
        """Microseconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return (self._now - self._start) / 1e6

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self._now += round(seconds * 1e6)


def steady(lease: Lease) -> AbstractContextManager[object]:
    """A keeper (`ports.LeaseKeeper`) that leaves the lease alone."""
    return nullcontext(lease)
