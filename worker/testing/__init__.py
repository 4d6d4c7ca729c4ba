"""Fakes for your tests, so that nothing has to be mocked: store, queries and limiter in memory, and a clock.

They implement the same ports as the adapters on Redis; state machine tests prove that they answer the same.
"""

from worker.testing.clock import FakeClock, skip_renewal
from worker.testing.job_admin import MemoryJobAdmin
from worker.testing.lease import MemoryLease
from worker.testing.limiter import MemoryLimiter
from worker.testing.metrics import MemoryMetrics
from worker.testing.queries import MemoryQueries
from worker.testing.store import MemoryStore

__all__ = [
    "FakeClock",
    "MemoryJobAdmin",
    "MemoryLease",
    "MemoryLimiter",
    "MemoryMetrics",
    "MemoryQueries",
    "MemoryStore",
    "skip_renewal",
]
