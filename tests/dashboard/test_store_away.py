"""Without Redis every page says so, at once, and as a page."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from ops.dashboard.routes import page_routes
from ops.dev.processes import free_port
from ops.dev.redis_server import run_server
from ops.web.routes import operator_routes
from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.support.browsing import HTML, text_of
from tests.support.http_front import KEYS, set_secrets, settings
from worker.redis.client import connect
from worker.wiring import Runtime

ADMIN = KEYS["admin"][0]


def test_pages_say_that_redis_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_secrets(monkeypatch)
    away = settings(tmp_path, f"redis://127.0.0.1:{free_port()}/0", "http://127.0.0.1:9/api")
    events = list[str]()
    runtime = Runtime(
        away, wake=lambda _account, _seconds: None, emit=lambda event, /, **_: events.append(event)
    )
    pages = page_routes(runtime, send_replay=lambda _: None)
    bearer = {**HTML, "Authorization": f"Bearer {ADMIN}"}
    with (
        Server(application(runtime, pages=pages), port=0) as server,
        httpx.Client(base_url=server.url, headers=bearer, timeout=20.0) as client,
    ):
        for path in ("/", "/jobs", "/errors", "/accounts", "/replays"):
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert answer.text.rstrip().endswith("</html>")
            assert "Redis" in answer.text
            assert "See what is wrong" in answer.text
        assert client.get("/sign-in").status_code == 200
        system = client.get("/system")  # which is opened to see what is wrong
        assert system.status_code == 200
        assert "fail redis" in text_of(system.text)
        assert "RELATIONS_REDIS_URL" in system.text
        assert "No worker is alive" not in system.text
        assert client.get("/sources/immo").status_code == 200
    assert "request.failed" not in events


def test_whoever_only_reads_is_told_soon_that_redis_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.portals.http.deps.PATIENCE_SECONDS", 0.1)
    set_secrets(monkeypatch)
    bearer = {"Authorization": f"Bearer {ADMIN}"}
    with run_server(tmp_path) as redis:
        client = connect(f"{redis.url}?socket_timeout=600")
        hung = settings(tmp_path, redis.url, "http://127.0.0.1:9/api")
        runtime = Runtime(hung, wake=lambda *_: None, client=client)
        pages = page_routes(runtime, send_replay=lambda _: None)
        routes = operator_routes(runtime, send_replay=lambda _: None)
        with (
            Server(application(runtime, pages=pages, more_routes=routes), port=0) as server,
            httpx.Client(base_url=server.url, headers=bearer, timeout=60.0) as http,
        ):
            assert http.get("/accounts", headers=HTML).status_code == 200
            assert redis.pid
            os.kill(redis.pid, signal.SIGSTOP)
            # Nobody lets it go on meanwhile: what waited for it would have no answer for ten minutes.
            for path in ("/", "/jobs", "/accounts"):
                answer = http.get(path, headers=HTML)
                assert answer.status_code == 503, path
                assert "Redis did not answer within 2 seconds" in answer.text
            for path in ("/v1/jobs?account=acme", "/v1/accounts", "/v1/health", "/v1/audit?account=acme"):
                answer = http.get(path)
                assert (answer.status_code, answer.json()["kind"]) == (503, "StoreUnavailable"), path
            os.kill(redis.pid, signal.SIGCONT)
            assert http.get("/accounts", headers=HTML).status_code == 200
