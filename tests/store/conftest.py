"""A store on a clean database, or in memory, by a clock that only the test moves."""

import pytest
from redis import Redis

from tests.support.store_values import START
from worker.ports.store import Store
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock, MemoryStore


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def redis_store(redis_client: Redis, clock: FakeClock) -> RedisStore:
    return RedisStore(redis_client, "t", now=clock.now)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Store:
    """Both, one after the other."""
    return MemoryStore(clock.now) if request.param == "memory" else request.getfixturevalue("redis_store")
