"""A store on a clean database, by a clock that only the test moves."""

import pytest
from redis import Redis
from store_moves import START

from worker.store.redis import RedisStore
from worker.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def store(redis_client: Redis, clock: FakeClock) -> RedisStore:
    return RedisStore(redis_client, "t", now=clock.now)
