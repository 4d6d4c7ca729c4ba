"""The interface, up, for every test of this room: one server, and a Redis that is empty when the test begins."""

from collections.abc import Iterator

import httpx
import pytest
import redis

from ops.dev.redis_server import RedisServer
from tests.support.http_front import SECRETS, Front, running


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Front]:
    """The running interface, with the secrets in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        with running(tmp_path_factory.mktemp("web"), redis_server.url) as front:
            yield front


@pytest.fixture
def front(house: Front, redis_client: redis.Redis) -> Front:
    """The running interface over an empty Redis."""
    house.woken.clear()
    house.handed.clear()
    house.said.clear()
    return house


@pytest.fixture
def http(front: Front) -> httpx.Client:
    """A client that may send and read for both accounts."""
    return front.client()
