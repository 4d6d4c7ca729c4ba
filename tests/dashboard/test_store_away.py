"""Without Redis every page says so, at once, and as a page."""

from pathlib import Path

import httpx
import pytest

from ops.dashboard.routes import page_routes
from ops.dev.processes import free_port
from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.support.browsing import HTML, text_of
from tests.support.http_front import KEYS, set_secrets, settings
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
        assert client.get("/sign-in").status_code == 200
        system = client.get("/system")  # which is opened to see what is wrong
        assert system.status_code == 200
        assert "fail redis" in text_of(system.text)
        assert "RELATIONS_REDIS_URL" in system.text
        assert "No worker is alive" not in system.text
        assert client.get("/sources/immo").status_code == 200
    assert "request.failed" not in events
