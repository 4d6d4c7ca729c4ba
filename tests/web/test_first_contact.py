"""The secret that a sender hands over when its hook is made: taken once, into the file, and nowhere else."""

import errno
import hashlib
import hmac
import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.support.http_front import Front, problem
from tests.support.store_steps import dump_keys
from worker.config import Rule, Secret, Source

HANDED = "canary-secret_that.was/handed+over=="
LATER = "canary-secret-of-somebody-who-came-later"
LINK = Rule(action="'create'", relationtype="'estate:address:buyer'", parentid="estate", childid="person")
ASANA = Source(
    name="hook",
    account="acme",
    scheme="hmac",
    secrets=(Secret("file:hook.secret"),),
    header="X-Hook-Signature",
    secret_from="header:X-Hook-Secret",
    rules=(LINK,),
)
NOTION = replace(ASANA, header="X-Notion-Signature", prefix="sha256=", secret_from="body:verification_token")
SOURCES = {"Asana": ASANA, "Notion": NOTION}


@pytest.fixture(params=list(SOURCES))
def source(
    request: pytest.FixtureRequest, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Source:
    """Serve a source whose secret is not there yet."""
    made = replace(SOURCES[request.param], secrets=(Secret("file:hook.secret", folder=tmp_path),))
    settings = replace(front.runtime.settings, sources={"hook": made})
    monkeypatch.setattr(front.runtime.live_settings, "current", settings)
    return made


def hand_over(front: Front, source: Source, secret: str) -> httpx.Response:
    """Make the hook, as its sender does."""
    http = front.client(None)
    if source.secret_from.startswith("header:"):
        return http.post("/webhooks/hook", json={}, headers={"X-Hook-Secret": secret})
    return http.post("/webhooks/hook", json={"verification_token": secret})


def deliver(front: Front, source: Source, secret: str) -> httpx.Response:
    body = json.dumps({"estate": 501, "person": 9001}).encode()
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return front.client(None).post(
        "/webhooks/hook", content=body, headers={source.header: f"{source.prefix}{mac}"}
    )


def test_the_first_secret_is_taken_and_what_it_signs_is_genuine(
    front: Front, redis_client: Redis, source: Source, tmp_path: Path
) -> None:
    problem(deliver(front, source, HANDED), 503)
    answer = hand_over(front, source, HANDED)
    assert answer.status_code == 200
    sent_back = HANDED if source.secret_from.startswith("header:") else None
    assert answer.headers.get("X-Hook-Secret") == sent_back
    file = tmp_path / "hook.secret"
    assert (file.read_text().strip(), stat.S_IMODE(file.stat().st_mode)) == (HANDED, 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["hook.secret"]
    assert deliver(front, source, HANDED).status_code == 202
    problem(deliver(front, source, LATER), 401)
    assert ("secret.taken", {"source": "hook"}) in front.events
    assert HANDED not in repr(dump_keys(redis_client)) + repr(front.events) + answer.text


def test_nobody_puts_another_in_its_place(front: Front, source: Source, tmp_path: Path) -> None:
    hand_over(front, source, HANDED)
    for _ in range(2):
        answer = hand_over(front, source, LATER)
        problem(answer, 401)
        assert "X-Hook-Secret" not in answer.headers
    assert (tmp_path / "hook.secret").read_text().strip() == HANDED
    assert deliver(front, source, HANDED).status_code == 202


@pytest.mark.parametrize(
    "secret", ["short", "<script>alert(1)</script>", "x" * 513, "two words that are long"]
)
def test_what_is_no_secret_is_not_taken(front: Front, source: Source, tmp_path: Path, secret: str) -> None:
    assert hand_over(front, source, secret).status_code in (401, 503)
    assert not list(tmp_path.iterdir())


def test_of_many_who_come_first_at_once_one_is_taken(front: Front, source: Source, tmp_path: Path) -> None:
    answers = dict[str, int]()

    def come(secret: str) -> None:
        answers[secret] = hand_over(front, source, secret).status_code

    threads = [threading.Thread(target=come, args=(f"canary-secret-number-{at:03}",)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [secret for secret, status in answers.items() if status == 200]
    assert taken == [(tmp_path / "hook.secret").read_text().strip()]


def test_a_file_system_without_hard_links_takes_a_secret_once_too(
    front: Front, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")  # what FAT says, and many shares

    monkeypatch.setattr(os, "link", refuse)
    assert hand_over(front, source, HANDED).status_code == 200
    problem(hand_over(front, source, LATER), 401)
    file = tmp_path / "hook.secret"
    assert (file.read_text().strip(), stat.S_IMODE(file.stat().st_mode)) == (HANDED, 0o600)
    assert list(tmp_path.iterdir()) == [file]
    assert deliver(front, source, HANDED).status_code == 202


def test_a_file_that_cannot_be_written_is_for_the_moment_and_hands_nothing_back(
    front: Front, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = replace(source, secrets=(Secret("file:no/folder/hook.secret", folder=tmp_path),))
    settings = replace(front.runtime.settings, sources={"hook": away})
    monkeypatch.setattr(front.runtime.live_settings, "current", settings)
    answer = hand_over(front, away, HANDED)
    problem(answer, 503)
    assert HANDED not in answer.text + repr(front.events)
    assert "X-Hook-Secret" not in answer.headers
