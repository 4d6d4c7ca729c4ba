"""What every folder of tests may use: a real server, an empty database, a taken port, hypothesis profiles."""

import gc
import os
import signal
import socket
from collections.abc import Generator, Iterator

import pytest
import redis
from hypothesis import settings

from ops.dev.redis_server import RedisServer, run_server
from tests.support.surroundings import forget_settings, keep_bytecode, share_certificates
from worker.garbage import THRESHOLDS
from worker.redis.client import connect

forget_settings(os.environ)
keep_bytecode(os.environ)
share_certificates()

# As a worker has it: looking for cycles among the values of a test takes a tenth of its time.
gc.set_threshold(*THRESHOLDS)

# A suite that a script runs in the background starts with SIGINT ignored, and one behind `nohup` with SIGHUP,
# and so would every process that a test starts and ends by them. Children of a process with a handler start
# with the default action.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

settings.register_profile("quick", max_examples=30, deadline=None, derandomize=False, print_blob=True)
settings.register_profile("many", settings.get_profile("quick"), max_examples=100)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=2000)
# The verdict on a commit must not depend on chance.
settings.register_profile("ci", settings.get_profile("quick"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "quick"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no cycles while tests are collected, nor later in what stays of it: the modules and the tests.

    A process that only hands tests out collects none, and looks for cycles, too.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the whole session; a test that kills its server starts one of its own."""
    with run_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """Yield a client of an empty database; STORE_URL names another than the session's.

    Replies are bytes.
    """
    client = connect(os.environ.get("STORE_URL") or request.getfixturevalue("redis_server").url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def redis_url(redis_server: RedisServer, redis_client: redis.Redis) -> str:
    """Return the URL of a database that is empty when the test begins."""
    return redis_server.url


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Yield a port of this machine on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
