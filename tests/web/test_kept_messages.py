"""Kept messages are replayed only into accounts of the key, and only as what they are."""

import json
from typing import Any

import httpx
import pytest

from producers.services import build_services
from tests.support.http_front import BUYER, KEYS, Front, problem
from worker.contract.message import UNROUTED
from worker.ports.records import JobFilter
from worker.ports.store import UnreadableMessage

FAULTS = ("parentid: expected a positive integer, got 0",)
FORMS = {"tenant": "2", "action": "create", "type": "estate:address:buyer", "parent": 501, "children": [9001]}


def keep(front: Front, account: str, content: dict[str, Any], source: str, *, delivered: bool = False) -> str:
    """Keep a message as a failed job of this account, and return the job."""
    body = json.dumps(content).encode()
    message = UnreadableMessage(account, source, "task-1:0", FAULTS, body, delivered=delivered)
    return front.runtime.intake().reject(message).job


def prepare(client: httpx.Client, account: str, job: str, **form: Any) -> dict[str, Any]:
    answer = client.post("/v1/replays", json={"account": account, "jobs": [job], **form})
    assert answer.status_code == 201, answer.text
    replay: dict[str, Any] = answer.json()
    return replay


def test_a_kept_message_goes_into_accounts_of_the_key_only(front: Front) -> None:
    for_beta = keep(front, "nobody", {**BUYER, "account": "beta"}, "celery")
    by_rules = keep(front, "acme", FORMS, "forms", delivered=True)
    assert for_beta.startswith(f"{UNROUTED}-")
    for account, job in ((UNROUTED, for_beta), ("acme", by_rules)):
        replay = prepare(front.client("lane"), account, job)
        assert (replay["eligible"], replay["refused"], replay["accounts"]) == (0, {"elsewhere": 1}, [])
        assert replay["plan"]["listed"] == []
        assert "beta" not in json.dumps(replay)
        allowed = prepare(front.client("all"), account, job)
        assert (allowed["eligible"], allowed["accounts"]) == (1, ["beta"])
        problem(front.client("lane").post(f"/v1/replays/{allowed['id']}/run"), 403)
        assert front.client("all").post(f"/v1/replays/{allowed['id']}/run").status_code == 202
    assert build_services(front.runtime).replays.prepare(UNROUTED, [for_beta], by="ada").eligible == 1


def test_nothing_of_a_kept_message_is_a_key(front: Front) -> None:
    key, _, _ = KEYS["portal"]
    said = f"source: got {key}"
    message = UnreadableMessage("acme", key, key, (said,), json.dumps({"why": f"use {key}!"}).encode())
    job = front.job(front.runtime.intake().reject(message).job)
    payload = front.runtime.job_admin.get_payload(job.id)
    assert payload is not None
    assert (job.source, payload.faults, payload.body) == ("***", ("source: got ***",), b'{"why": "use ***!"}')
    assert key not in job.event_id


def test_a_correction_takes_a_key_out_of_relationinfo_as_it_takes_out_a_field(front: Front) -> None:
    info = {"statusTerminbestaetigung": "gesendet", "room": "4"}
    viewing = {**BUYER, "relationtype": "calendar:address", "relationinfo": info, "color": "red"}
    job = keep(front, "acme", viewing, "celery")
    assert prepare(front.client("lane"), "acme", job, set={"color": ""})["refused"] == {"unreadable": 1}
    replay = prepare(front.client("lane"), "acme", job, set={"color": "", "relationinfo.room": ""})
    assert [each.get("relationinfo") for each in replay["plan"]["listed"]] == [
        None,  # it is created, and then has what is left
        {"statusTerminbestaetigung": "gesendet"},
    ]


def test_a_kept_message_that_is_nested_too_deeply_keeps_no_other_from_being_replayed(front: Front) -> None:
    body = b"[" * 30_000 + b"]" * 30_000
    front.runtime.intake().reject(UnreadableMessage("acme", "celery", "task-2:0", FAULTS, body))
    keep(front, "acme", {**BUYER, "parentid": 0}, "celery")
    form = {"account": "acme", "state": "failed", "set": {"parentid": 1}}
    replay = front.client("lane").post("/v1/replays", json=form).json()
    assert (replay["eligible"], replay["refused"]) == (1, {"unreadable": 1})


@pytest.mark.parametrize("account", ["beta", ["beta"], {"beta": 1}, "BETA"])
def test_no_correction_moves_a_kept_message_into_another_account(front: Front, account: object) -> None:
    job = keep(front, "acme", {**BUYER, "parentid": 0}, "celery")
    form = {"account": "acme", "jobs": [job], "set": {"account": account, "parentid": 1}}
    problem(front.client("lane").post("/v1/replays", json=form), 403)
    job_of_unrouted = {"account": "acme", "state": "failed", "set": {"parentid": 1}}
    assert front.client("lane").post("/v1/replays", json=job_of_unrouted).json()["accounts"] == ["acme"]


def test_the_name_of_a_webhook_makes_no_message_one_of_its_own(front: Front) -> None:
    """Whoever sends over Celery names its source as it likes."""
    theirs = keep(front, "acme", {**FORMS, **BUYER, "source": "forms", "parentid": 0}, "forms")
    own = keep(front, "acme", FORMS, "forms", delivered=True)
    assert theirs != own  # and takes nobody's event id
    replays = build_services(front.runtime).replays
    refused = replays.prepare("acme", [theirs], by="ada")
    assert (refused.refused, "unknown field" in refused.examples[theirs]) == ({"unreadable": 1}, True)
    unasked = dict.fromkeys(FORMS.keys() - BUYER.keys(), "")
    mended = replays.prepare("acme", [theirs], by="ada", correction={**unasked, "parentid": 501})
    assert (mended.eligible, mended.accounts) == (1, ("acme",))


def test_a_message_of_a_webhook_that_was_removed_is_not_taken_for_a_change(front: Front) -> None:
    job = keep(front, "acme", {**BUYER, "account": "beta"}, "removed", delivered=True)
    replay = build_services(front.runtime).replays.prepare("acme", JobFilter(state="failed"), by="ada")
    assert replay.refused == {"unreadable": 1}
    assert 'there is no webhook source "removed" any more' in replay.examples[job]
