"""The pages over a running interface, as a browser without JavaScript sees them."""

import traceback
from collections.abc import Iterator

import httpx
import pytest
import redis

from ops.dev.redis_server import RedisServer
from tests.support.browsing import Browse, open_browser
from tests.support.http_front import SECRETS, Front, running


@pytest.fixture(scope="session")
def shared_front(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Front]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        with running(tmp_path_factory.mktemp("pages"), redis_server.url) as front:
            yield front


@pytest.fixture
def front(shared_front: Front, redis_client: redis.Redis) -> Front:
    shared_front.woken.clear()
    shared_front.sent_replays.clear()
    shared_front.events.clear()
    return shared_front


@pytest.fixture
def browse(front: Front) -> Iterator[Browse]:
    """Return a browser that has signed in with the key of this name, or with none."""
    opened = list[httpx.Client]()

    def browser(key: str | None = "admin") -> httpx.Client:
        opened.append(open_browser(front, key))
        return opened[-1]

    yield browser
    for client in opened:
        client.close()
    failures = [fields for event, fields in front.events if event == "request.failed"]
    assert not failures, traceback.format_exception(failures[0]["exc_info"])  # type: ignore[arg-type]
