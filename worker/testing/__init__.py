"""Shipped fakes, so that nothing has to be mocked: the store in memory, held equal to the one on Redis, and a clock that only you move."""

from worker.testing.clock import FakeClock, steady
from worker.testing.lease import MemoryLease
from worker.testing.questions import MemoryQuestions
from worker.testing.store import MemoryStore

__all__ = ["FakeClock", "MemoryLease", "MemoryQuestions", "MemoryStore", "steady"]
