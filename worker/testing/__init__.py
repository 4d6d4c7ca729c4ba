"""Fakes for your tests, so that nothing has to be mocked: store and limiter in memory, and a clock.

They implement the same ports as the adapters on Redis, the store's with the same code over a dictionary.
"""

from worker.store.lease.lease import RedisLease as MemoryLease
from worker.testing.clock import FakeClock, skip_renewal
from worker.testing.limiter import MemoryLimiter
from worker.testing.store import MemoryStore

__all__ = [
    "FakeClock",
    "MemoryLease",
    "MemoryLimiter",
    "MemoryStore",
    "skip_renewal",
]
