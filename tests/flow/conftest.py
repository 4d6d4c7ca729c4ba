"""Every flow runs on both stores: the in-memory one, and Redis."""

from collections.abc import Callable

import pytest
import redis

from tests.support.flow_world import World
from worker.store.redis_store import RedisStore
from worker.testing import MemoryStore


@pytest.fixture(params=["memory", "redis"])
def make_world(request: pytest.FixtureRequest, redis_client: redis.Redis) -> Callable[..., World]:
    """Return what makes a world on the store of the parameter."""
    if request.param == "memory":
        return lambda **options: World(MemoryStore, **options)
    return lambda **options: World(lambda now: RedisStore(redis_client, "test", now=now), **options)
