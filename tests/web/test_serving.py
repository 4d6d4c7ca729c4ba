"""The server itself: it ends in order, answers without stalling, and keeps its own faults to itself."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from ops.web.routes import operator_routes
from producers.errors import CannotStart
from producers.portals.http.application import application
from producers.portals.http.middleware import CorrelationMiddleware
from producers.portals.http.server import Server, listen
from tests.support.http_front import BUYER, SECRETS, Front, problem, read_all, request_head, settings
from tests.support.waiting import HANGS_AFTER
from worker.store.redis_store import RedisStore
from worker.wiring import Runtime

CHANGE = json.dumps(BUYER).encode()
PROCESS = """
import sys
from pathlib import Path
from tests.support.http_front import settings
from producers.portals.http.application import application
from producers.portals.http.server import Server, listen
from worker.wiring import Runtime
runtime = Runtime(settings(Path(sys.argv[1]), sys.argv[2], "http://127.0.0.1:9/"), wake=lambda *_: None)
server = Server(application(runtime), port=0)
print(server.port, flush=True)
server.run()
print("ended", flush=True)
"""


def begin_request(port: int, *more: str) -> socket.socket:
    """Send the head of a request, so that the server awaits its body."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(request_head(*more, f"Content-Length: {len(CHANGE)}", "Expect: 100-continue"))
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    return connection


def read_accepted(connection: socket.socket) -> dict[str, Any]:
    """Return the document of a 202, after which the connection ends."""
    received = read_all(connection)
    assert received.startswith(b"HTTP/1.1 202 ")
    document: dict[str, Any] = json.loads(received.partition(b"\r\n\r\n")[2])
    return document


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_request_that_has_begun_is_answered_before_the_process_ends_well_and_none_is_lost(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, number: int
) -> None:
    environ = {**os.environ, **SECRETS, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", PROCESS, str(tmp_path), redis_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout
        lines = (line.strip() for line in process.stdout)
        port = int(next(line for line in lines if line.isdecimal()))
        connections = [begin_request(port, "Prefer: wait=30"), *(begin_request(port) for _ in range(16))]
        connections[0].sendall(CHANGE)  # it is accepted, and waits for an end that does not come
        while not redis_client.llen("relations:{acme}:queue"):
            assert process.poll() is None
        process.send_signal(number)
        for connection in connections[1:]:
            connection.sendall(CHANGE)
        jobs = {read_accepted(connection)["jobs"][0]["id"] for connection in connections}
        assert len(jobs) == len(connections)
        assert all(map(RedisStore(redis_client, "relations").get_job, jobs))
        assert "ended" in lines
        assert process.wait(HANGS_AFTER) == 0
        for connection in connections:
            connection.close()


def test_a_request_that_takes_longer_than_the_stop_may_is_told_to_come_again(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.portals.http.server.SHUTDOWN_SECONDS", 0.1)
    with Server(application(front.runtime), port=0) as server:
        connection = begin_request(server.port)
        server.stop()
        received = read_all(connection)
    connection.close()
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head.lower()
    assert "send it again" in json.loads(body)["detail"]


def test_a_small_answer_is_not_held_back_by_the_network(http: httpx.Client) -> None:
    waits = []
    for _ in range(100):
        started = time.monotonic()
        assert http.get("/healthz").status_code == 200
        waits.append(time.monotonic() - started)
    assert sorted(waits)[25] < 0.03  # held back, each takes 40 ms; on a busy machine some take longer anyway


def test_a_port_that_is_taken_is_an_error_at_once(front: Front) -> None:
    with pytest.raises(CannotStart, match="in use"):
        Server(application(front.runtime), port=urlsplit(front.url).port or 0)


def test_data_that_others_wrote_over_is_told_and_the_next_request_is_served(
    front: Front, http: httpx.Client, redis_client: redis.Redis
) -> None:
    redis_client.set("relations:{acme}:meta", "no hash")
    redis_client.set("relations:{acme}:kept", "no hash")
    for answer in (
        http.get("/v1/jobs/acme-1"),
        http.post("/v1/changes", content=CHANGE, headers={"Content-Type": "application/json"}),
    ):
        assert "WRONGTYPE" in problem(answer, 503)["detail"]
    assert front.events == []
    redis_client.flushall()
    assert (
        http.post("/v1/changes", content=CHANGE, headers={"Content-Type": "application/json"}).status_code
        == 202
    )


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_internal_error(
    front: Front, http: httpx.Client
) -> None:
    begin_request(urlsplit(front.url).port or 0).close()
    assert http.get("/healthz").status_code == 200
    assert front.events == []


def test_a_server_on_old_settings_says_so_and_a_mended_file_ends_it(
    front: Front, redis_url: str, tmp_path: Path
) -> None:
    runtime = Runtime(settings(tmp_path, redis_url, "http://127.0.0.1:1"), wake=lambda *_: None)
    file = tmp_path / "relations.toml"
    good = file.read_text("utf-8")
    routes = operator_routes(runtime, send_replay=lambda _: None)
    with Server(application(runtime, more_routes=routes), port=0) as server:

        def is_stale() -> bool:
            notes = httpx.get(f"{server.url}/readyz").json().get("notes", [])
            noted = any("running on old settings: accounts.acme.rate" in note for note in notes)
            assert f"relations_settings_stale {float(noted)}" in httpx.get(f"{server.url}/metrics").text
            return noted

        assert not is_stale()
        file.write_text(good.replace("[accounts.acme]", '[accounts.acme]\nrate = "fast"'), "utf-8")
        assert is_stale()
        file.write_text(good, "utf-8")
        assert not is_stale()


def test_a_typo_in_a_rule_is_told_at_once_and_holds_back_nothing_else(
    front: Front, redis_url: str, tmp_path: Path
) -> None:
    events: list[str] = []
    runtime = Runtime(
        settings(tmp_path, redis_url, "http://127.0.0.1:1"),
        wake=lambda *_: None,
        emit=lambda event, /, **_: events.append(event),
    )
    file = tmp_path / "relations.toml"
    good = file.read_text("utf-8")
    routes = operator_routes(runtime, send_replay=lambda _: None)

    def names_the_rule(server: Server) -> bool:
        notes = httpx.get(f"{server.url}/readyz").json().get("notes", [])
        noted = any("sources.immo.rules[0].parentid" in note for note in notes)
        assert f"relations_settings_stale {float(noted)}" in httpx.get(f"{server.url}/metrics").text
        return noted

    with Server(application(runtime, more_routes=routes), port=0) as server:
        broken = good.replace('parentid = "', 'parentid = "data[', 1)
        file.write_text(broken.replace("[accounts.acme]", "[accounts.acme]\nrate = 7.5"), "utf-8")
        assert names_the_rule(server)
        assert events == ["settings.reloaded", "settings.rejected"]
        assert runtime.settings.account("acme").rate == 7.5
        file.write_text(good, "utf-8")
        assert not names_the_rule(server)


NINES = "9" * 5000


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/relations/x/{NINES}/1",
        f"/v1/relations/estate:address:buyer/1/{NINES}?account=acme",
        f"/v1/jobs?account=acme&limit={NINES}",
        f"/v1/audit?account=acme&cursor={NINES}",
        f"/v1/requests?account=acme&cursor={NINES}",
        f"/v1/callbacks?account=acme&cursor={NINES}",
        f"/v1/deliveries?cursor={NINES}",
        "/v1/requests?account=acme&cursor=acme-1",
        "/v1/audit?account=acme&cursor=1-2",
    ],
)
def test_numbers_of_any_length_are_no_internal_error(front: Front, path: str) -> None:
    answer = front.client("admin").get(path)
    problem(answer, 404 if "/v1/relations/" in path else 422)
    assert front.events == []


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v1/jobs/acme-1", "/v1/jobs/acme-1"),
        ("/webhooks/deals/a-secret/created", "/webhooks/deals"),
        ("/relations/webhooks/deals/a-secret", "/relations/webhooks/deals"),  # behind a path above us
    ],
)
def test_an_error_that_nobody_expects_is_answered_and_logged_once(path: str, shown: str) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path)

    events: list[tuple[str, object, object]] = []
    app = CorrelationMiddleware(
        fail,
        new_id=lambda: "c-1",
        emit=lambda event, /, **fields: events.append((event, fields["error"], fields["path"])),
    )
    answer = asyncio.run(get())
    problem(answer, 500)
    assert answer.headers["x-correlation-id"] == "c-1"
    assert events == [("request.failed", "ZeroDivisionError", shown)]


def _has_version_6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_version_6(), reason="this machine has no addresses of version 6")
def test_a_name_may_have_an_address_of_version_6_alone_and_all_addresses_are_those_of_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve = socket.getaddrinfo
    names = {"machine-1": ["::1"], "both": ["::1", "127.0.0.1"], "two": ["127.0.0.1", "0.0.0.0"]}

    def resolve_names(host: str, *more: Any, **options: Any) -> list[Any]:
        return [found for each in names.get(host, [host]) for found in resolve(each, *more, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_names)

    def where_it_answers(host: str) -> list[str]:
        with listen(host, 0) as listening:
            return [each for each in ("127.0.0.1", "::1") if _takes(each, listening.getsockname()[1])]

    assert where_it_answers("machine-1") == ["::1"]
    assert where_it_answers("both") == ["127.0.0.1"]
    assert where_it_answers("::") == ["127.0.0.1", "::1"]
    assert where_it_answers("") == ["127.0.0.1"]
    with listen("two", 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"  # the resolver's first


@pytest.mark.parametrize("host", ["a..b", f"{'x' * 64}.example", "nobody.invalid"])
def test_what_is_no_name_of_a_host_cannot_be_listened_at(front: Front, host: str) -> None:
    with pytest.raises(CannotStart, match=f"cannot listen on {re.escape(host)}:0: .+; name an address"):
        Server(application(front.runtime), host=host, port=0)


def _takes(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=10).close()
    except OSError:
        return False
    return True
