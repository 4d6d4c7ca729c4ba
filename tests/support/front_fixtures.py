"""Fixtures of one running interface for all tests of a room, over a Redis that is empty when one begins."""

from collections.abc import Iterator

import pytest
import redis

from ops.dev.redis_server import RedisServer
from tests.support.http_front import Front, running


@pytest.fixture(scope="session")
def shared_front(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Front]:
    """Serve the interface."""
    with running(tmp_path_factory.mktemp("front"), redis_server.url) as front:
        yield front


@pytest.fixture
def front(shared_front: Front, redis_client: redis.Redis) -> Iterator[Front]:
    """Yield the running interface over an empty Redis; clients of it end with the test."""
    shared_front.woken.clear()
    shared_front.sent_replays.clear()
    shared_front.events.clear()
    yield shared_front
    shared_front.close()
