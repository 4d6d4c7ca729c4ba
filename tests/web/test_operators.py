"""The operators' routes on a real socket: rights and accounts of keys, dry runs, actions, audit log."""

import json
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from tests.support.described import find_undescribed
from tests.support.http_front import MISSING, Front, problem
from worker.contract import from_message
from worker.planner.actions import Action, Request

BUYER = "estate:address:buyer"
CHANGE = {"account": "acme", "action": "create", "relationtype": BUYER, "parentid": 501}


class Operator:
    """A client with an admin key, or another one per call."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def __call__(
        self, method: str, path: str, *, key: str = "canary-key-admin", **how: Any
    ) -> httpx.Response:
        return self._client.request(method, path, headers={"Authorization": f"Bearer {key}"}, **how)

    def get(self, path: str, **params: Any) -> Any:
        answer = self("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, status: int = 200, **form: Any) -> Any:
        answer = self("POST", path, json=form)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def operator(front: Front) -> Operator:
    return Operator(front.client(None))


def send(front: Front, *children: int, flush: bool = True, **more: Any) -> list[str]:
    receipts = front.runtime.intake().accept(
        [from_message({**CHANGE, "childid": child, **more}).change for child in children]
    )
    if flush:
        front.drain()
    return [receipt.job for receipt in receipts]


def test_the_description_of_all_routes_is_valid_and_names_each(operator: Operator) -> None:
    document = operator.get("/openapi.json")
    validate(document)
    assert {
        "/v1/replays/{id}/run",
        "/v1/relations/{type}/{parent}/{child}",
        "/v1/erasures",
        "/metrics",
    } <= set(document["paths"])


def test_a_relation_is_explained_also_by_its_urn_and_mirrored(front: Front, operator: Operator) -> None:
    [job] = send(front, 1)
    explained = operator.get(f"/v1/relations/{BUYER}/501/1", account="acme")
    assert [item["id"] for item in explained["jobs"]] == [job]
    [job_json] = explained["jobs"]
    assert (job_json["action"], job_json["by"], job_json["error"], job_json["verified"]) == (
        "create",
        None,
        None,
        False,
    )
    [passage] = job_json["requests"]
    assert (passage["id"], passage["action"], passage["answer"]["verdict"]) == (
        job_json["request"],
        "create",
        "ok",
    )
    urn = "urn:onoffice-de-ns:smart:2.5:relationTypes:estate:address:buyer"
    assert operator.get(f"/v1/relations/{urn}/501/1", account="acme") == explained
    problem(operator("GET", "/v1/relations/nonsense/1/1", params={"account": "acme"}), 404)


def test_failures_are_grouped_and_replayed_as_previewed_and_the_audit_log_shows_it(
    front: Front, operator: Operator
) -> None:
    jobs = send(front, MISSING, 1)
    [group] = operator.get("/v1/errors", account="acme")["errors"]
    assert (group["code"], group["jobs"]) == (80, 1)
    replay = operator.post("/v1/replays", 201, account="acme", error="80")
    assert (replay["state"], replay["eligible"], replay["plan"]["actions"]) == ("previewed", 1, 1)
    assert operator.get(f"/v1/replays/{replay['id']}") == {**replay, "became": {}}
    assert operator.get("/v1/replays", account="acme")["replays"] == [replay]
    assert operator.post(f"/v1/replays/{replay['id']}/run", 202)["state"] == "running"
    assert front.sent_replays == [replay["id"]]
    assert operator.post(f"/v1/replays/{replay['id']}/cancel")["state"] == "stopped"
    assert [(entry["by"], entry["act"]) for entry in operator.get("/v1/audit", account="acme")["deeds"]] == [
        ("admin", "replay stopped"),
        ("admin", "replay started"),
        ("admin", "replay prepared"),
    ]
    assert front.job(jobs[0]).state == "failed"


def test_an_empty_filter_and_an_unknown_field_are_refused(operator: Operator) -> None:
    for path in ("/v1/replays", "/v1/jobs/cancel", "/v1/jobs/dismiss"):
        problem(operator("POST", path, json={"account": "acme"}), 422)
        problem(operator("POST", path, json={"account": "acme", "error": "80", "everything": True}), 422)
        problem(operator("POST", path, content=b"{"), 415)


@pytest.mark.parametrize(
    ("form", "path", "is_phps"),
    [([], "", True), ({"set": []}, "set", True), ({"set": 5}, "set", False), ({"jobs": {}}, "jobs", False)],
)
def test_an_empty_array_of_php_for_an_object_is_explained(
    operator: Operator, form: Any, path: str, is_phps: bool
) -> None:
    whole = {"account": "acme", **form} if form else form
    [fault] = problem(operator("POST", "/v1/replays", json=whole), 422)["errors"]
    assert (fault["path"], "send (object) [] for an object" in fault["message"]) == (path, is_phps)


@pytest.mark.parametrize(("action", "state"), [("cancel", "failed"), ("dismiss", "queued")])
def test_an_action_is_never_on_others_than_were_selected(
    front: Front, operator: Operator, action: str, state: str
) -> None:
    [failed], [queued] = send(front, MISSING), send(front, 1, flush=False)
    for form in ({"state": state}, {"jobs": [failed, queued], "batch": "one"}):
        problem(operator("POST", f"/v1/jobs/{action}", json={"account": "acme", **form}), 422)
    fit, unfit = (queued, failed) if action == "cancel" else (failed, queued)
    dry_run = operator.post(
        f"/v1/jobs/{action}", account="acme", jobs=[failed, queued, "acme-x", "beta-y"], dry_run=True
    )
    assert dry_run["jobs"] == [fit]
    assert dry_run["refused"] == {unfit: state, "acme-x": "gone", "beta-y": "foreign"}
    assert [front.job(job).state for job in (failed, queued)] == ["failed", "queued"]


def test_queued_changes_are_cancelled_and_failures_dismissed_after_a_dry_run(
    front: Front, operator: Operator
) -> None:
    queued = send(front, 1, 2, flush=False, batch="one")
    dry_run = operator.post("/v1/jobs/cancel", account="acme", batch="one", dry_run=True)
    assert (sorted(dry_run["jobs"]), dry_run["dry_run"], dry_run["more"]) == (sorted(queued), True, False)
    assert front.store.counts("acme")["backlog"] == 2
    assert sorted(operator.post("/v1/jobs/cancel", account="acme", batch="one")["jobs"]) == sorted(queued)
    assert front.store.counts("acme")["backlog"] == 0
    [failed] = send(front, MISSING)
    done = operator.post("/v1/jobs/dismiss", account="acme", jobs=[failed, queued[0]])
    assert (done["jobs"], done["refused"]) == ([failed], {queued[0]: "superseded"})
    assert operator.get("/v1/errors", account="acme") == {"errors": [], "records": []}


def test_accounts_are_shown_paused_and_resumed_by_keys_with_the_right(
    front: Front, operator: Operator
) -> None:
    assert [item["account"] for item in operator.get("/v1/accounts")["accounts"]] == ["acme"]
    operator.post("/v1/accounts/acme/pause", why="moving")
    assert operator.get("/v1/accounts")["accounts"][0]["paused"]["detail"] == "moving"
    assert operator.post("/v1/accounts/acme/resume")["was_paused"] is True
    problem(operator("POST", "/v1/accounts/beta/pause", json={}), 403)
    problem(operator("POST", "/v1/accounts/acme/pause", json={}, key="canary-key-portal"), 403)


def test_requests_are_listed_and_shown(front: Front, operator: Operator) -> None:
    send(front, 1, 2)
    page = operator.get("/v1/requests", account="acme", limit=1)
    shown = operator.get(f"/v1/requests/{page['requests'][0]['id']}", account="acme")
    assert shown == page["requests"][0]
    problem(operator("GET", "/v1/requests/nothing", params={"account": "acme"}), 404)


def test_a_person_is_erased(front: Front, operator: Operator) -> None:
    [job] = send(front, 424242)
    assert operator.post("/v1/erasures", account="acme", module="address", id=424242)["erased"]
    assert "424242" not in json.dumps(operator.get(f"/v1/jobs/{job}"))
    problem(operator("POST", "/v1/erasures", json={"account": "acme", "module": "person", "id": 1}), 404)


def test_an_erasure_says_when_to_come_back_for_a_write_without_an_answer(
    front: Front, operator: Operator
) -> None:
    lease = front.store.lease("acme", "dead")
    assert lease is not None
    lease.begin("r1", Request((Action("create", BUYER, (501,), (9001,)),)))
    lease.release()
    form = {"account": "acme", "module": "address", "id": 9001}
    refused = operator("POST", "/v1/erasures", json=form)
    assert "unfinished write: 1, the last of which may land until" in problem(refused, 503)["detail"]
    assert 60 < int(refused.headers["Retry-After"]) < 300
    assert operator.post("/v1/erasures", **{**form, "id": 9002})["erased"] == {}


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
def test_nothing_of_another_account_is_shown_or_done(
    operator: Operator, method: str, path: str, form: Any
) -> None:
    problem(operator(method, path, json=form), 403)
    problem(operator(method, path, json=form, key="wrong"), 401)


@pytest.mark.parametrize(
    ("path", "answer", "found"),
    [
        ("/v1/replays/r1", {"id": "r1", "erasures": 1}, [".erasures"]),
        ("/v1/replays", {"replays": [{"id": "r1", "erasures": 1}]}, [".replays[].erasures"]),
        ("/v1/replays", {"replays": [{"id": "r1"}]}, []),
    ],
)
def test_a_field_that_stands_in_no_description_is_found(
    operator: Operator, path: str, answer: Any, found: list[str]
) -> None:
    assert find_undescribed(operator.get("/openapi.json"), "GET", path, 200, answer) == found


def test_numbers_are_served_to_prometheus_without_a_key(front: Front, operator: Operator) -> None:
    send(front, 1)
    text = operator("GET", "/metrics").text
    assert 'account="acme"' in text


def test_failed_relations_of_a_job_are_listed_corrected_and_dismissed_one_by_one(
    front: Front, operator: Operator
) -> None:
    change = {**CHANGE, "childid": [9001, MISSING]}
    [job] = [each.job for each in front.runtime.intake().accept([from_message(change).change])]
    front.runtime.flush("acme")
    while front.store.counts("acme")["open"]:
        front.runtime.flush("acme")
    [failure] = operator.get(f"/v1/jobs/{job}")["failures"]
    assert (failure["parentid"], failure["childid"], failure["code"]) == (501, MISSING, 80)
    assert (failure["class"], failure["dismissed"]) == ("record", None)
    listed = operator.get("/v1/jobs", account="acme", error="80", childid=MISSING)["jobs"]
    assert [each["failures"] for each in listed] == [[failure]]
    assert operator.get("/v1/jobs", account="acme", error="80", childid=9001)["jobs"] == []
    [record] = operator.get("/v1/errors", account="acme")["records"]
    assert (record["module"], record["id"], record["relations"]) == ("address", MISSING, 1)
    named = {"account": "acme", "jobs": [job]}
    refused = operator.post("/v1/replays", 201, **named, childid=9001, set={"childid": 9002})
    assert (refused["eligible"], refused["refused"]) == (0, {"other relations": 1})
    operator.post("/v1/replays", 422, **named, batch="x")
    replay = operator.post("/v1/replays", 201, **named, childid=MISSING)
    assert (replay["eligible"], replay["relations"]) == (1, 1)
    assert operator.post("/v1/jobs/dismiss", account="acme", error="80", childid=MISSING)["jobs"] == [job]
    assert operator.get("/v1/errors", account="acme") == {"errors": [], "records": []}
