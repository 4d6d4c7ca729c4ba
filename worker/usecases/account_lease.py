"""Waiting for an account's lease, and giving it back, also to a store that is away."""

from collections.abc import Callable
from typing import Final, TypeVar

from worker.errors import LeaseLost, StoreUnreadable, Unavailable
from worker.ports import Clock, Wake
from worker.ports.work import LEASE_LIFETIME, MAX_COUNTDOWN, Lease

MAX_WAIT: Final = 30.0  # seconds to wait for the account's lease
POLL: Final = 0.2  # seconds between two attempts to get it
RELEASE_FOR: Final = LEASE_LIFETIME  # seconds for which one that lost its store tries to release its lease
RELEASE_EVERY: Final = 0.5  # seconds between two tries

SomeLease = TypeVar("SomeLease", bound=Lease)


def acquire_lease(
    account: str, take: Callable[[], SomeLease | None], clock: Clock, *, max_wait: float = MAX_WAIT
) -> SomeLease:
    """Return the lease once `take` gets it; raise Unavailable if others have it for so many seconds."""
    if lease := wait_for_lease(take, clock, max_wait=max_wait):
        return lease
    raise Unavailable(
        f"account {account} has been at work for {max_wait:g} s; try again", retry_after=max_wait
    )


def wait_for_lease(
    take: Callable[[], SomeLease | None], clock: Clock, *, max_wait: float
) -> SomeLease | None:
    """Return the lease once `take` gets it, None if others have it for so many seconds."""
    waited = 0.0
    while (lease := take()) is None and waited < max_wait:
        clock.sleep(POLL)
        waited += POLL
    return lease


def give_back(lease: Lease, wake: Wake, *, window: float = 0.0) -> None:
    """Release the lease; wake a worker for what waits: the store takes it for woken from here on."""
    next_in = lease.release(window=window)
    if next_in is not None and next_in <= MAX_COUNTDOWN:
        wake(lease.account, next_in)


def release_when_back(lease: Lease, clock: Clock, *, window: float) -> None:
    """Release the lease once the store is back: else its batch counts as deadly (R21)."""
    until = clock.monotonic() + RELEASE_FOR
    while clock.monotonic() < until:
        try:
            lease.release(window=window)
            return
        except (LeaseLost, StoreUnreadable):  # what cannot be read is not mended by waiting
            return
        except Unavailable:
            clock.sleep(RELEASE_EVERY)
