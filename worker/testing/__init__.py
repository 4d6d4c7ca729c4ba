"""Shipped fakes, so that nothing has to be mocked: the store in memory, held equal to the one on Redis, and a clock that only you move."""

from worker.testing.clock import FakeClock, steady
from worker.testing.job_admin import MemoryJobAdmin
from worker.testing.lease import MemoryLease
from worker.testing.metrics import MemoryMetrics
from worker.testing.queries import MemoryQueries
from worker.testing.store import MemoryStore

__all__ = [
    "FakeClock",
    "MemoryJobAdmin",
    "MemoryLease",
    "MemoryMetrics",
    "MemoryQueries",
    "MemoryStore",
    "steady",
]
