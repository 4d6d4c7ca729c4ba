"""Behind proxies: below a path of theirs, and connections that are kept longer than theirs."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from ops.web.routes import operator_routes
from producers.portals.http.application import application
from producers.portals.http.middleware import THIS_MACHINE, ForwardedMiddleware, clean_root_path, read_proxies
from producers.portals.http.server import KEEP_ALIVE_SECONDS, Server
from tests.support.http_front import BUYER, KEYS, SECRETS, Front
from worker.errors import InvalidSettings
from worker.ports.deliveries import DeliveryFilter

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


@pytest.mark.parametrize("sent", ["", PREFIX], ids=["stripped", "whole"])
def test_a_webhook_below_a_path_is_read_as_one_that_is_not(
    front: Front, below: httpx.Client, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = replace(
        front.runtime.settings.sources["office"].rules[0], when="path(`1`) == 'created'", parentid="estate"
    )
    office = front.runtime.settings.sources["office"]
    shared = replace(
        office, name="box", scheme="secret", secret_in="path", rules=(replace(rule, childid="person"),)
    )
    sources = {**front.runtime.settings.sources, "box": shared}
    monkeypatch.setattr(
        front.runtime.live_settings, "current", replace(front.runtime.settings, sources=sources)
    )
    answer = below.post(
        f"{sent}/webhooks/box/{SECRETS['OFFICE_SECRET']}/created", json={"estate": 1, "person": 2}
    )
    assert [job["state"] for job in answer.json()["jobs"]] == ["queued"]
    (kept,) = front.runtime.deliveries.find(DeliveryFilter(sources=("box",))).entries
    request = front.runtime.deliveries.get(kept.id)
    assert request is not None
    assert request.request.startswith(b"POST /webhooks/box/***/created HTTP/1.1\r\n")


@pytest.mark.parametrize("sent", ["", PREFIX], ids=["stripped", "whole"])
def test_a_signature_covers_the_address_with_the_path_that_a_proxy_may_have_taken_off(
    below: httpx.Client, sent: str
) -> None:
    fields = {"estateId": "4.629", "timestamp": str(int(time.time())), "userId": "21"}
    address = f"{str(below.base_url).rstrip('/')}{PREFIX}/webhooks/office"
    content = f"{address}?{urlencode(sorted(fields.items()))}"
    mac = hmac.new(SECRETS["OFFICE_SECRET"].encode(), content.encode(), hashlib.sha256).hexdigest()
    answer = below.get(f"{sent}/webhooks/office", params={**fields, "signature": mac})
    assert answer.status_code == 202


@pytest.mark.parametrize("sent", [("/outer", "/inner"), ("/outer, /inner/",), ("/outer/", "/,/inner")])
def test_each_proxy_on_the_way_takes_its_part_of_the_path(http: httpx.Client, sent: tuple[str, ...]) -> None:
    headers = [("X-Forwarded-Prefix", part) for part in sent]
    assert http.get("/openapi.json", headers=headers).json()["servers"] == [{"url": "/outer/inner"}]
    answer = http.post("/inner/v1/changes", json=BUYER, headers=headers)
    assert answer.status_code == 404, "of which no proxy took a part"
    answer = http.post("/v1/changes", json=BUYER, headers=headers)
    assert answer.headers["location"].startswith("/outer/inner/v1/jobs/")


@pytest.mark.parametrize(
    "prefix", ["//evil.test", "/a b", "/a\tb", "/" + "a" * 300, "evil", "/a/../b?c", "/a,b", "/a,//b"]
)
def test_what_is_no_path_is_not_believed(http: httpx.Client, prefix: str) -> None:
    answer = http.post("/v1/changes", json=BUYER, headers={"X-Forwarded-Prefix": prefix})
    assert answer.headers["location"].startswith("/v1/jobs/")


def test_a_stranger_names_no_path(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    with Server(application(front.runtime), port=0) as server:
        document = httpx.get(f"{server.url}/openapi.json", headers={"X-Forwarded-Prefix": PREFIX}).json()
        httpx.get(f"{server.url}/healthz")  # who says nothing of a client is no proxy
        httpx.get(f"{server.url}/healthz", headers={"X-Forwarded-Proto": "https"})
    assert document["servers"] == [{"url": "/"}]
    assert [fields for event, fields in front.events if event == "proxy.ignored"] == [
        {"address": "127.0.0.1"}
    ], "once"


@pytest.mark.parametrize(
    "text", ["proxy", "10.0.0.9 10.0.0.8", "10.0.0.9,*", "10.0.0.9/8", '"10.0.0.9"', "[::1]", "10.0.0.9:80"]
)
def test_what_is_no_proxy_is_a_fault(front: Front, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", text)
    with pytest.raises(InvalidSettings, match=r"^FORWARDED_ALLOW_IPS: expected addresses and networks"):
        Server(application(front.runtime), port=0)


def test_proxies_are_addresses_networks_or_all() -> None:
    assert read_proxies(" 10.0.0.9, 172.16.0.0/12 ,::1,") == "10.0.0.9,172.16.0.0/12,::1"
    assert (read_proxies(" * "), read_proxies(""), read_proxies(" ")) == ("*", THIS_MACHINE, THIS_MACHINE)


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


@pytest.mark.parametrize("address", ["10.0.0.9", "::ffff:10.0.0.9"])
def test_a_proxy_says_who_its_client_is_also_where_both_versions_are_listened_at(address: str) -> None:
    seen = list[Scope]()

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    headers = [(b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "client": (address, 4711), "scheme": "http", "path": "/", "headers": headers}
    asyncio.run(ForwardedMiddleware(note, "10.0.0.9", emit=lambda *_, **__: None)(scope, nothing, nothing))
    [told] = seen
    assert (told["client"][0], told["peer"], told["scheme"]) == ("192.0.2.7", "10.0.0.9", "https")
