"""How long clients wait at most: for a server that drips, by a proxy, for very many jobs."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from producers.portals import AsyncRelations, Relations
from tests.support.scripted_api import answer_bytes, drip, hang_up, http, scripted
from worker.errors import RelationsError, Unavailable
from worker.testing import FakeClock

BUYER = "estate:address:buyer"
JOBS = json.dumps({"jobs": [{"id": "acme-1", "state": "succeeded"}]}).encode()
JSON = {"Content_Type": "application/json"}


def wait_blocking(url: str) -> Any:
    with Relations(url, "key") as relations:
        return relations.wait("acme-1", timeout=0)


def wait_awaiting(url: str) -> Any:
    async def scene() -> Any:
        async with AsyncRelations(url, "key") as relations:
            return await relations.wait("acme-1", timeout=0)

    return asyncio.run(scene())


@pytest.mark.parametrize("wait", [wait_blocking, wait_awaiting])
def test_a_server_that_drips_its_answer_is_waited_for_no_longer_than_one_that_hangs(
    wait: Callable[[str], Any],
) -> None:
    began, start = time.monotonic(), b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with scripted(drip(start)) as server, pytest.raises(Unavailable, match="in time"):
        wait(f"http://{server.host}")
    assert 1 <= time.monotonic() - began < 2.5


@pytest.mark.parametrize("wait", [wait_blocking, wait_awaiting])
def test_the_answer_of_a_real_server_is_read_whole_however_it_is_sent(wait: Callable[[str], Any]) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
    pieces = b"".join(b"%x\r\n%c\r\n" % (1, byte) for byte in JOBS) + b"0\r\n\r\n"
    for step in (answer_bytes(JOBS, **JSON), hang_up(after=chunked + pieces)):
        with scripted(step) as server:
            assert [job["id"] for job in wait(f"http://{server.host}")] == ["acme-1"]


@pytest.mark.parametrize("wait", [wait_blocking, wait_awaiting])
def test_an_answer_that_breaks_off_and_a_server_that_is_not_there_are_curable(
    wait: Callable[[str], Any],
) -> None:
    with scripted(hang_up(after=http(JOBS)[:-5])) as server, pytest.raises(Unavailable):
        wait(f"http://{server.host}")
    with pytest.raises(Unavailable, match="cannot be reached"):
        wait(f"http://{server.host}")


@pytest.mark.parametrize("wait", [wait_blocking, wait_awaiting])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
def test_either_client_goes_by_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[[str], Any], variable: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with scripted(answer_bytes(JOBS, **JSON), answer_bytes(JOBS, **JSON)) as proxy:
        monkeypatch.setenv(variable, f"me:secret@{proxy.host}")
        assert wait("http://relations.test")
        assert proxy.requests[0].line == "POST http://relations.test/v1/jobs/lookup HTTP/1.1"
        assert "proxy-authorization" in proxy.requests[0].headers
        monkeypatch.setenv("NO_PROXY", "other,127.0.0.1")
        assert wait(f"http://{proxy.host}")
        assert proxy.requests[1].line == "POST /v1/jobs/lookup HTTP/1.1"


@pytest.mark.parametrize("kind", [Relations, AsyncRelations])
@pytest.mark.parametrize(
    ("proxy", "text"),
    [
        ("socks5://me:secret@here", "socksio"),
        ("ftp://me:secret@here", "HTTP_PROXY"),
        ("http://here:secret", "HTTP_PROXY"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_at_once_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, kind: type[Relations | AsyncRelations], proxy: str, text: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(RelationsError, match=text) as raised:
        kind("http://relations.test", "key")
    assert "secret" not in str(raised.value)


def test_waiting_for_very_many_is_over_in_time_and_takes_none_for_forgotten_that_nobody_looked_at() -> None:
    clock = FakeClock()

    def slow(request: httpx.Request) -> httpx.Response:
        clock.advance(0.4)
        jobs = [{"id": job_id, "state": "succeeded"} for job_id in json.loads(request.content)["jobs"]]
        return httpx.Response(200, json={"jobs": jobs})

    relations = Relations("http://here", "key", transport=httpx.MockTransport(slow), clock=clock)
    with pytest.raises(TimeoutError, match="95000 jobs are not seen done"):
        relations.wait(map(str, range(100_000)), timeout=3)
    assert clock.monotonic() <= 4


def test_a_machine_that_slept_looks_once_more_before_it_names_jobs_that_are_not_done() -> None:
    states = iter(["queued", "succeeded"])

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"jobs": [{"id": "acme-1", "state": next(states)}]})

    class SleepyClock(FakeClock):
        def sleep(self, seconds: float) -> None:
            self.advance(seconds + 3600)

    transport = httpx.MockTransport(answer)
    relations = Relations("http://here", "key", transport=transport, clock=SleepyClock())
    assert relations.wait("acme-1", timeout=10)[0]["state"] == "succeeded"


async def serve(hangs: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the requests of a connection, and answer them unless the server hangs."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            if not hangs.is_set():
                writer.write(http(JOBS, **JSON))
    writer.close()


def test_a_client_whose_connections_were_all_taken_by_a_server_that_hangs_has_them_again() -> None:
    async def scene() -> Any:
        hangs = asyncio.Event()
        hangs.set()
        server = await asyncio.start_server(lambda *ends: serve(hangs, *ends), "127.0.0.1", 0)
        url = "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        async with server, AsyncRelations(url, "key") as relations:
            for _ in range(2):
                waits = [relations.wait("acme-1", timeout=0) for _ in range(150)]
                failures = await asyncio.gather(*waits, return_exceptions=True)
                assert {type(failure) for failure in failures} == {Unavailable}
            hangs.clear()
            return await asyncio.gather(*(relations.wait("acme-1", timeout=5) for _ in range(30)))

    assert len(asyncio.run(scene())) == 30
