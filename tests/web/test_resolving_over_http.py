"""Parked changes over HTTP: what they show, who may say which record is meant, and what they may do then."""

from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tests.support.http_front import SECRETS, Front, problem

CHANGE = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:interested",
    "parentid": {"estate": {"objektnr_extern": "00815"}},
}
FIELDS = {
    "estate": {"8150": {"objektnr_extern": "00815"}},
    "address": {"8151": {"email": "two@example.test"}, "8152": {"email": "two@example.test"}},
}
TWO = "address:email=two@example.test"


@pytest.fixture
def operator(front: Front) -> httpx.Client:
    seed(front, FIELDS)
    return front.client("admin")


def seed(front: Front, fields: Any) -> None:
    url = urljoin(front.runtime.settings.account("acme").api_url, "/_sim/seed")
    answer = httpx.post(url, json={"token": SECRETS["ACME_TOKEN"], "fields": fields})
    assert answer.status_code == 200, answer.text


def send(front: Front, *people: Any) -> list[str]:
    answer = front.client("acme").post("/v1/changes", json=[{**CHANGE, "childid": each} for each in people])
    assert answer.status_code == 202, answer.text
    front.drain()
    front.woken.clear()
    return [job["id"] for job in answer.json()["jobs"]]


def show(front: Front, job: str) -> Any:
    return front.client("viewer").get(f"/v1/jobs/{job}").json()


def test_a_parked_change_shows_what_it_lacks_and_the_candidates(front: Front, operator: httpx.Client) -> None:
    [job] = send(front, TWO)
    shown = show(front, job)
    estate, person = shown["references"]
    assert (shown["state"], shown["parentid"], shown["childid"]) == ("parked", [], [])
    assert (estate["side"], estate["reference"], estate["id"]) == ("parent", CHANGE["parentid"], 8150)
    assert (person["id"], person["candidates"], person["chosen_by"]) == (None, [8151, 8152], None)
    assert (shown["parked"]["look_ups"], shown["parked"]["unanswered"]) == (1, 0)
    assert (shown["held"]["reason"], shown["held"]["until"]) == ("reference", shown["parked"]["until"])
    found = operator.get("/v1/jobs", params={"account": "acme", "reference": TWO, "state": "parked"}).json()
    assert [each["id"] for each in found["jobs"]] == [job]
    problem(operator.get("/v1/jobs", params={"account": "acme", "reference": "email=x"}), 422)
    assert 'relations_jobs{account="acme",state="parked"} 1.0' in front.client(None).get("/metrics").text


def test_a_choice_releases_the_change_wakes_a_worker_and_is_audited(
    front: Front, operator: httpx.Client
) -> None:
    job, other = send(front, TWO, {"address": {"email": "TWO@example.test"}})
    path = f"/v1/jobs/{job}/resolve"
    named = operator.post(path, json={"childid": 8151, "all": True, "dry_run": True}).json()
    assert (named["dry_run"], set(named["jobs"])) == (True, {job, other})
    assert show(front, job)["state"] == "parked"
    for _ in range(2):
        done = operator.post(path, json={"childid": 8151}).json()
        assert (done["jobs"], done["refused"]) == ([job], {})
    assert set(front.woken) == {"acme"}
    front.drain()
    shown = show(front, job)
    assert (shown["state"], shown["parentid"], shown["childid"]) == ("succeeded", [8150], [8151])
    assert shown["references"][1]["chosen_by"] == "admin"
    problem(operator.post(path, json={"childid": 8152}), 422)
    assert operator.post(path, json={"references": {TWO: 8152}, "all": True}).json()["refused"] == {
        job: "succeeded"
    }
    front.drain()
    assert show(front, other)["childid"] == [8152]
    entries = operator.get("/v1/audit", params={"account": "acme"}).json()["deeds"]
    assert [(each["act"], each["count"], each["note"]) for each in entries if each["count"]] == [
        ("resolved", 1, "address by email"),
        ("resolved", 1, "address by email"),
    ]
    relation = f"/v1/relations/{CHANGE['relationtype']}/8150/8151"
    [shown] = operator.get(relation, params={"account": "acme"}).json()["jobs"]
    assert [each["chosen_by"] for each in shown["references"]] == [None, "admin"]


def test_all_are_those_that_wait_for_the_same_record_and_no_choice_is_made_again(
    front: Front, operator: httpx.Client
) -> None:
    job, chosen, _ = send(front, TWO, [TWO, "address:KdNr=8153"], "address:KdNr=8153")
    done = operator.post(f"/v1/jobs/{chosen}/resolve", json={"references": {TWO: 8151}}).json()
    assert done["jobs"] == [chosen]
    front.drain()
    for dry_run in (True, False):
        form = {"childid": 8152, "all": True, "dry_run": dry_run}
        answer = operator.post(f"/v1/jobs/{job}/resolve", json=form).json()
        assert (answer["jobs"], answer["refused"]) == ([job], {})
    shown = show(front, chosen)
    assert (shown["state"], shown["references"][1]["id"]) == ("parked", 8151)


def test_parked_changes_are_looked_up_at_once(front: Front, operator: httpx.Client) -> None:
    job, other = send(front, "address:KdNr=8153", TWO)
    seed(front, {"address": {"8153": {"KdNr": "8153"}}})
    form = {"account": "acme", "reference": "address:KdNr=8153"}
    named = operator.post("/v1/jobs/look-up-records", json={**form, "dry_run": True}).json()
    assert named["jobs"] == [job]
    assert show(front, job)["state"] == "parked"
    assert not front.woken
    assert operator.post("/v1/jobs/look-up-records", json=form).json()["jobs"] == [job]
    assert front.woken == ["acme"]
    front.drain()
    assert [show(front, each)["state"] for each in (job, other)] == ["succeeded", "parked"]
    problem(operator.post("/v1/jobs/look-up-records", json={"account": "acme"}), 422)


def test_who_may_only_read_or_has_another_account_resolves_nothing(
    front: Front, operator: httpx.Client
) -> None:
    [job] = send(front, TWO)
    for key in ("viewer", "portal"):
        problem(front.client(key).post(f"/v1/jobs/{job}/resolve", json={"childid": 8151}), 403)
    problem(operator.post("/v1/jobs/beta-0f3k9x2b7c1d4e5g6h/resolve", json={"childid": 8151}), 403)
    problem(operator.post("/v1/jobs/acme-0f3k9x2b7c1d4e5g6h/resolve", json={"childid": 8151}), 404)
    for wrong in ({}, {"childid": 0}, {"childid": "8151"}, {"parentid": 1}, {"person": 8151}):
        problem(operator.post(f"/v1/jobs/{job}/resolve", json=wrong), 422)
    assert show(front, job)["state"] == "parked"
    events = repr(front.events)
    assert "lookup.done" in events
    assert "example.test" not in events


def test_a_resolved_change_that_waits_behind_a_younger_one_is_explained(
    front: Front, operator: httpx.Client
) -> None:
    [job] = send(front, TWO)
    operator.post("/v1/accounts/acme/pause", json={"why": "to let both wait"})
    operator.post("/v1/changes", json=[CHANGE | {"parentid": 8150, "childid": 8152}])
    operator.post(f"/v1/jobs/{job}/resolve", json={"childid": 8151})
    path = f"/v1/relations/{CHANGE['relationtype']}/8150/8151"
    explained = operator.get(path, params={"account": "acme"}).json()
    assert [each["id"] for each in explained["jobs"]] == [job]
