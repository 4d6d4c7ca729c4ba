"""What operators send and what is kept of it has bounds in bytes, and a refusal names them."""

import hmac
import json
import time
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from producers.replay import plan, prepare
from producers.replay.resend import MAX_CORRECTION
from producers.services import build_services
from tests.support.cli_runner import make_cli, make_environ, write_settings
from tests.support.http_front import BUYER, MISSING, SECRETS, Front, problem
from tests.support.store_steps import count_by_state
from worker.contract import from_message
from worker.ports.records import JobFilter
from worker.ports.store import UnreadableMessage

LONG = "acme-" + "x" * 60


@pytest.mark.parametrize("path", ["/v1/replays", "/v1/jobs/cancel", "/v1/jobs/dismiss"])
def test_an_id_that_is_none_is_refused_before_it_is_kept(front: Front, path: str) -> None:
    admin = front.client("admin")
    refused = problem(admin.post(path, json={"account": "acme", "jobs": ["acme-1", LONG]}), 422)
    assert refused["errors"] == [
        {"path": "jobs[1]", "message": "expected the id of a job, at most 64 characters, got 65"}
    ]
    assert front.runtime.job_admin.audit_log("acme").entries == ()


def test_a_correction_has_room_for_every_id_and_no_more(front: Front) -> None:
    replays, selected = build_services(front.runtime).replays, JobFilter(state="failed")
    whole = {"childid": list(range(2**53 - 501, 2**53 - 1))}
    assert replays.prepare("acme", selected, by="ada", correction=whole).eligible == 0
    form = {"account": "acme", "state": "failed", "set": {"batch": "x" * MAX_CORRECTION}}
    refused = problem(front.client("admin").post("/v1/replays", json=form), 422)
    [fault] = refused["errors"]
    assert fault["path"] == "set"
    assert fault["message"].startswith(f"expected at most {MAX_CORRECTION} bytes, got ")
    many = {"account": "acme", "state": "failed", "set": {f"f{number}": 1 for number in range(1000)}}
    assert len(problem(front.client("admin").post("/v1/replays", json=many), 422)["errors"]) <= 101


def test_a_replay_leaves_to_another_what_its_set_has_no_room_for(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [from_message({**BUYER, "parentid": at, "childid": MISSING}).change for at in range(1, 21)]
    front.runtime.intake().accept(changes)
    front.drain()
    monkeypatch.setattr("producers.job_admin.selection.PIECE", 5)
    monkeypatch.setattr(prepare, "MAX_SET_BYTES", 1000)
    replays, selected = build_services(front.runtime).replays, JobFilter(state="failed")
    partly = replays.prepare("acme", selected, by="ada", correction={"childid": 7})
    assert (partly.eligible, partly.more) == (5, True)
    assert replays.prepare("acme", selected, by="ada").eligible == 20  # ids alone take no room


def test_the_sets_of_a_week_have_a_bound_together(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    front.runtime.intake().accept([from_message({**BUYER, "childid": MISSING}).change])
    front.runtime.flush("acme")
    monkeypatch.setattr("worker.store.replays.MAX_SETS_BYTES", 60)  # two ids, and not three
    form = {"account": "acme", "state": "failed"}
    client = front.client("admin")
    assert [client.post("/v1/replays", json=form).status_code for _ in range(2)] == [201, 201]
    refused = problem(client.post("/v1/replays", json=form), 429)
    assert "the sets of a week's replays would be more than 60 bytes" in refused["detail"]
    assert len(front.runtime.job_admin.list_replays("acme")) == 2


def test_what_a_replay_shows_is_bounded_in_ids(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_LISTED_IDS", 6)
    front.runtime.intake().accept(
        [from_message({**BUYER, "parentid": at, "childid": MISSING}).change for at in (1, 2, 3)]
    )
    front.drain()
    replays = build_services(front.runtime).replays
    for forced in (False, True):
        replay = replays.prepare("acme", JobFilter(state="failed"), by="ada", forced=forced)
        ids = sum(len(action["parentid"]) + len(action["childid"]) for action in replay.plan["listed"])
        assert 0 < ids <= 6


def test_a_senders_id_of_any_length_is_one_message(front: Front) -> None:
    body, now = json.dumps({"type": "enquiry.created", "data": {}}), time.time()
    for name in ("m" * 5000, "m" * 5001):
        stamp = int(now)
        signed = f"{name}.{stamp}.{body}"
        webhook = Webhook(SECRETS["IMMO_SECRET"])
        headers = {
            "webhook-id": name,
            "webhook-timestamp": str(stamp),
            "webhook-signature": sign(webhook, signed),
            "Content-Type": "application/json",
        }
        answers = [front.client(None).post("/webhooks/immo", content=body, headers=headers) for _ in range(2)]
        [first], [again] = (answer.json()["jobs"] for answer in answers)
        assert (first["id"], again["duplicate"]) == (again["id"], True)
        job = front.job(first["id"])
        assert len(job.event_id) <= 200
    assert count_by_state(front.runtime.metrics, "acme")["unresolved"] == 2


def sign(webhook: Webhook, signed: str) -> str:
    return "v1," + b64encode(hmac.digest(webhook._whsecret, signed.encode(), sha256)).decode()


def test_what_is_wrong_with_a_kept_message_is_kept_within_bounds(front: Front) -> None:
    faults = tuple(f"[{number}]: " + "x" * 5000 for number in range(5000))
    job = front.runtime.intake().reject(UnreadableMessage("acme", "celery", "e", faults, b"{}")).job
    payload = front.runtime.job_admin.get_payload(job)
    assert payload
    assert sum(map(len, payload.faults)) < 60_000


def test_reasons_and_names_of_operators_are_bounded_in_commands_too(front: Front, tmp_path: Path) -> None:
    environ = make_environ(
        write_settings(tmp_path, "https://crm.example.test", "acme"), front.runtime.settings.redis_url
    )
    cli = make_cli(environ)
    for words in (("--why", "x" * 201), ("--by", "x" * 201)):
        assert (
            "expected at most 200 characters, got 201"
            in cli("accounts", "pause", "acme", *words, code=2).stderr
        )


def test_a_full_backlog_names_its_bound(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = front.runtime.settings
    small = replace(settings.accounts["acme"], max_backlog_bytes=100)
    monkeypatch.setattr(
        front.runtime.live_settings,
        "current",
        replace(settings, accounts={**settings.accounts, "acme": small}),
    )
    client = front.client()
    assert client.post("/v1/changes", json=BUYER).status_code == 202
    refused = client.post("/v1/changes", json={**BUYER, "parentid": 502})
    assert "would be more than max_backlog_bytes, 100;" in problem(refused, 429)["detail"]
    assert int(refused.headers["Retry-After"]) > 0
