"""The operators' endpoints on a real socket: rights and accounts of keys, previews, acts, and the audit."""

import json
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from tests.support.http_front import MISSING, Front, problem
from worker.contract import from_message

BUYER = "estate:address:buyer"
CHANGE = {"account": "acme", "action": "create", "relationtype": BUYER, "parentid": 501}


class Office:
    """A client for each kind of key."""

    def __init__(self, url: str, handed: list[str]) -> None:
        self.url, self.handed = url, handed

    def __call__(
        self, method: str, path: str, *, key: str = "canary-key-admin", **how: Any
    ) -> httpx.Response:
        return httpx.request(method, self.url + path, headers={"Authorization": f"Bearer {key}"}, **how)

    def get(self, path: str, **params: Any) -> Any:
        answer = self("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, status: int = 200, **form: Any) -> Any:
        answer = self("POST", path, json=form)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def office(front: Front) -> Office:
    return Office(front.url, front.handed)


def send(front: Front, *children: int, work: bool = True, **more: Any) -> list[str]:
    receipts = front.runtime.intake().accept(
        [from_message({**CHANGE, "childid": child, **more}).change for child in children]
    )
    if work:
        while front.runtime.flush("acme").next_in == 0.0:
            pass
    return [receipt.job for receipt in receipts]


def test_the_description_of_all_routes_is_valid_and_names_each(office: Office) -> None:
    document = httpx.get(f"{office.url}/openapi.json").json()
    validate(document)
    assert {
        "/v1/replays/{id}/run",
        "/v1/relations/{type}/{parent}/{child}",
        "/v1/erasures",
        "/metrics",
    } <= set(document["paths"])


def test_a_relation_is_explained_also_by_its_urn_and_mirrored(front: Front, office: Office) -> None:
    [job] = send(front, 1)
    told = office.get(f"/v1/relations/{BUYER}/501/1", account="acme")
    assert [each["id"] for each in told["jobs"]] == [job]
    [each] = told["jobs"]
    assert (each["action"], each["by"], each["error"], each["verified"]) == ("create", None, None, False)
    [passage] = each["requests"]
    assert (passage["id"], passage["action"], passage["answer"]["verdict"]) == (
        each["request"],
        "create",
        "ok",
    )
    urn = "urn:onoffice-de-ns:smart:2.5:relationTypes:estate:address:buyer"
    assert office.get(f"/v1/relations/{urn}/501/1", account="acme") == told
    problem(office("GET", "/v1/relations/nonsense/1/1", params={"account": "acme"}), 404)


def test_failures_are_grouped_replayed_as_previewed_and_stand_in_the_audit(
    front: Front, office: Office
) -> None:
    jobs = send(front, MISSING, 1)
    [group] = office.get("/v1/errors", account="acme")["errors"]
    assert (group["code"], group["jobs"]) == (80, 1)
    made = office.post("/v1/replays", 201, account="acme", error="80")
    assert (made["state"], made["eligible"], made["plan"]["actions"]) == ("previewed", 1, 1)
    assert office.get(f"/v1/replays/{made['id']}") == {**made, "became": {}}
    assert office.get("/v1/replays", account="acme")["replays"] == [made]
    assert office.post(f"/v1/replays/{made['id']}/run", 202)["state"] == "running"
    assert office.handed == [made["id"]]
    assert office.post(f"/v1/replays/{made['id']}/cancel")["state"] == "stopped"
    assert [(deed["by"], deed["act"]) for deed in office.get("/v1/audit", account="acme")["deeds"]] == [
        ("admin", "replay stopped"),
        ("admin", "replay started"),
        ("admin", "replay prepared"),
    ]
    assert front.store.get_job(jobs[0]).state == "failed"


def test_an_empty_filter_and_an_unknown_field_are_refused(office: Office) -> None:
    for path in ("/v1/replays", "/v1/jobs/cancel", "/v1/jobs/dismiss"):
        problem(office("POST", path, json={"account": "acme"}), 422)
        problem(office("POST", path, json={"account": "acme", "error": "80", "everything": True}), 422)
        problem(office("POST", path, content=b"{"), 415)


@pytest.mark.parametrize(("act", "state"), [("cancel", "failed"), ("dismiss", "queued")])
def test_an_act_is_never_on_others_than_were_asked_for(
    front: Front, office: Office, act: str, state: str
) -> None:
    [failed], [queued] = send(front, MISSING), send(front, 1, work=False)
    for form in ({"state": state}, {"jobs": [failed, queued], "batch": "one"}):
        problem(office("POST", f"/v1/jobs/{act}", json={"account": "acme", **form}), 422)
    fit, unfit = (queued, failed) if act == "cancel" else (failed, queued)
    look = office.post(
        f"/v1/jobs/{act}", account="acme", jobs=[failed, queued, "acme-x", "beta-y"], dry_run=True
    )
    assert look["jobs"] == [fit]
    assert look["refused"] == {unfit: state, "acme-x": "gone", "beta-y": "foreign"}
    assert [front.store.get_job(job).state for job in (failed, queued)] == ["failed", "queued"]  # type: ignore[union-attr]


def test_queued_changes_are_cancelled_and_failures_dismissed_after_a_look(
    front: Front, office: Office
) -> None:
    queued = send(front, 1, 2, work=False, batch="one")
    look = office.post("/v1/jobs/cancel", account="acme", batch="one", dry_run=True)
    assert (sorted(look["jobs"]), look["dry_run"], look["more"]) == (sorted(queued), True, False)
    assert front.store.counts("acme")["backlog"] == 2
    assert sorted(office.post("/v1/jobs/cancel", account="acme", batch="one")["jobs"]) == sorted(queued)
    assert front.store.counts("acme")["backlog"] == 0
    [failed] = send(front, MISSING)
    done = office.post("/v1/jobs/dismiss", account="acme", jobs=[failed, queued[0]])
    assert (done["jobs"], done["refused"]) == ([failed], {queued[0]: "superseded"})
    assert office.get("/v1/errors", account="acme") == {"errors": []}


def test_accounts_are_shown_paused_and_resumed_by_who_may(front: Front, office: Office) -> None:
    assert [each["account"] for each in office.get("/v1/accounts")["accounts"]] == ["acme"]
    office.post("/v1/accounts/acme/pause", why="moving")
    assert office.get("/v1/accounts")["accounts"][0]["paused"]["detail"] == "moving"
    assert office.post("/v1/accounts/acme/resume")["was_paused"] is True
    problem(office("POST", "/v1/accounts/beta/pause", json={}), 403)
    problem(office("POST", "/v1/accounts/acme/pause", json={}, key="canary-key-portal"), 403)


def test_requests_are_listed_and_shown(front: Front, office: Office) -> None:
    send(front, 1, 2)
    page = office.get("/v1/requests", account="acme", limit=1)
    shown = office.get(f"/v1/requests/{page['requests'][0]['id']}", account="acme")
    assert shown == page["requests"][0]
    problem(office("GET", "/v1/requests/nothing", params={"account": "acme"}), 404)


def test_a_person_is_erased(front: Front, office: Office) -> None:
    [job] = send(front, 424242)
    assert office.post("/v1/erasures", account="acme", module="address", id=424242)["erased"]
    assert "424242" not in json.dumps(office.get(f"/v1/jobs/{job}"))
    problem(office("POST", "/v1/erasures", json={"account": "acme", "module": "person", "id": 1}), 404)


@pytest.mark.parametrize(
    ("method", "path", "form"),
    [
        ("GET", "/v1/errors?account=beta", None),
        ("GET", "/v1/audit?account=beta", None),
        ("GET", "/v1/replays/beta-000000000000000000", None),
        ("POST", "/v1/replays/beta-000000000000000000/run", None),
        ("POST", "/v1/replays", {"account": "beta", "error": "80"}),
        ("POST", "/v1/jobs/cancel", {"account": "beta", "batch": "x"}),
        ("POST", "/v1/erasures", {"account": "beta", "module": "address", "id": 1}),
    ],
)
def test_nothing_of_another_account_is_asked_or_done(
    office: Office, method: str, path: str, form: Any
) -> None:
    problem(office(method, path, json=form), 403)
    problem(office(method, path, json=form, key="wrong"), 401)


def test_numbers_are_served_to_prometheus_without_a_key(front: Front, office: Office) -> None:
    send(front, 1)
    text = httpx.get(f"{office.url}/metrics").text
    assert 'account="acme"' in text
