"""Shipped fakes, so that nothing has to be mocked: the store in memory, held equal to the one on Redis, and a clock that only you move."""

from worker.testing.clock import FakeClock, steady
from worker.testing.job_admin import MemoryActs
from worker.testing.lease import MemoryLease
from worker.testing.metrics import MemoryNumbers
from worker.testing.queries import MemoryQuestions
from worker.testing.store import MemoryStore

__all__ = ["FakeClock", "MemoryActs", "MemoryLease", "MemoryNumbers", "MemoryQuestions", "MemoryStore", "steady"]
