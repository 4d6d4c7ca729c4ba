"""Behind proxies: below a path of theirs, and connections that are kept longer than theirs."""

import time
from collections.abc import Iterator

import httpx
import pytest

from ops.web.routes import operator_routes
from producers.portals.http.application import application
from producers.portals.http.forwarded import clean_root_path
from producers.portals.http.server import KEEP_ALIVE_SECONDS, Server
from tests.support.http_front import BUYER, KEYS, Front

PREFIX = "/crm/relations"


@pytest.fixture(params=["option", "header"])
def below(request: pytest.FixtureRequest, front: Front) -> Iterator[httpx.Client]:
    """Return a client of an interface below a path that it was told, or that a trusted proxy names."""
    by_option = request.param == "option"
    app = application(front.runtime, more_routes=operator_routes(front.runtime, send_replay=lambda _: None))
    headers = {"Authorization": f"Bearer {KEYS['admin'][0]}"} | (
        {} if by_option else {"X-Forwarded-Prefix": PREFIX}
    )
    with (
        Server(app, port=0, root_path=PREFIX if by_option else "") as server,
        httpx.Client(base_url=server.url, headers=headers) as client,
    ):
        yield client


@pytest.mark.parametrize("sent", ["", PREFIX], ids=["stripped", "whole"])
def test_addresses_that_are_told_can_be_followed_through_the_proxy(below: httpx.Client, sent: str) -> None:
    answer = below.post(f"{sent}/v1/changes", json=BUYER)
    location = answer.headers["location"]
    assert location == f"{PREFIX}/v1/jobs/{answer.json()['jobs'][0]['id']}"
    assert below.get(location).status_code == below.get(location.removeprefix(PREFIX)).status_code == 200
    assert below.get(f"{sent}/openapi.json").json()["servers"] == [{"url": PREFIX}]


@pytest.mark.parametrize("prefix", ["//evil.test", "/a b", "/a\tb", "/" + "a" * 300, "evil", "/a/../b?c"])
def test_what_is_no_path_is_not_believed(http: httpx.Client, prefix: str) -> None:
    answer = http.post("/v1/changes", json=BUYER, headers={"X-Forwarded-Prefix": prefix})
    assert answer.headers["location"].startswith("/v1/jobs/")


def test_a_stranger_names_no_path(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    with Server(application(front.runtime), port=0) as server:
        document = httpx.get(f"{server.url}/openapi.json", headers={"X-Forwarded-Prefix": PREFIX}).json()
    assert document["servers"] == [{"url": "/"}]


def test_a_root_path_is_checked() -> None:
    assert clean_root_path("/a/b/") == "/a/b"
    with pytest.raises(ValueError, match="expected a path"):
        clean_root_path("a")


def test_a_connection_is_kept_as_long_as_was_said_and_longer_than_proxies_keep_theirs(front: Front) -> None:
    assert KEEP_ALIVE_SECONDS > 60
    with (
        Server(application(front.runtime), port=0, keep_alive=0.3) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        peers = [client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr")]
        peers.append(client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr"))
        deadline = time.monotonic() + 20
        while peers[-1] == peers[0]:
            assert time.monotonic() < deadline, "it is kept for ever"
            time.sleep(0.5)
            peers.append(client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr"))
        assert peers[0] == peers[1]
