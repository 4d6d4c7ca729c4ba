"""Jobs and health checks over HTTP: what is shown, in pages, to whom, and whether the interface is ready."""

from pathlib import Path

import httpx
import pytest

from ops.dev.redis_server import run_server
from tests.support.http_front import BUYER, MISSING, Front, problem, running
from worker.contract import from_message

BUYERS = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": [1, 2, 3, 4],
}


def send(front: Front, *children: int) -> list[str]:
    changes = [from_message({**BUYERS, "childid": child}).change for child in children]
    return [receipt.job for receipt in front.runtime.intake().accept(changes)]


def test_a_job_shows_its_change(front: Front, http: httpx.Client) -> None:
    change = from_message({**BUYERS, "batch": "import-7", "source": "portal", "event_id": "e"}).change
    (receipt,) = front.runtime.intake().accept([change])
    job = http.get(f"/v1/jobs/{receipt.job}").json()
    accepted = job["accepted_at"]
    held = job.pop("held")
    assert (held["reason"], held["until"], held["parentid"]) == ("turn", None, None)
    assert job == {
        "id": receipt.job,
        "account": "acme",
        "state": "queued",
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": [501],
        "childid": [1, 2, 3, 4],
        "relationinfo": {},
        "source": "portal",
        "event_id": "e",
        "batch": "import-7",
        "allow_empty": False,
        "correlation_id": None,
        "occurred_at": accepted,
        "accepted_at": accepted,
        "finished_at": None,
        "attempts": 0,
        "relations": {"total": 4, "applied": 0, "superseded": 0, "stale": 0, "failed": 0},
        "error": None,
        "failures": [],
        "references": [],
        "parked": None,
        "superseded_by": None,
        "requests": [],
        "replay": None,
        "replays": None,
        "replayed_by": [],
        "history": [{"at": accepted, "event": "accepted"}],
    }


def test_a_held_job_says_why_and_until_when(front: Front, http: httpx.Client) -> None:
    broker = {**BUYERS, "relationtype": "estate:address:contactPerson", "childid": 42}
    for message in (broker, {**broker, "action": "delete"}):
        (receipt,) = front.runtime.intake().accept([from_message(message).change])
        front.runtime.flush("acme")
    job = http.get(f"/v1/jobs/{receipt.job}").json()
    held = job["held"]
    assert (job["state"], held["parentid"], held["childid"], held["reason"]) == ("held", 501, 42, "guard")
    assert held["error"] == "last_one"
    assert "send the delete with allow_empty" in held["message"]
    assert job["accepted_at"] < held["until"]
    page = http.get("/v1/jobs", params={"account": "acme", "state": "held"}).json()
    assert [(listed["id"], listed["held"]) for listed in page["jobs"]] == [(receipt.job, held)]


def test_a_finished_job_shows_what_became_of_every_relation_and_the_first_refusal(
    front: Front, http: httpx.Client
) -> None:
    (receipt,) = front.runtime.intake().accept([from_message({**BUYERS, "childid": [1, MISSING]}).change])
    front.runtime.flush("acme")
    job = http.get(f"/v1/jobs/{receipt.job}").json()
    assert (job["state"], job["relations"]) == (
        "failed",
        {"total": 2, "applied": 1, "superseded": 0, "stale": 0, "failed": 1},
    )
    assert {**job["error"], "message": ""} == {
        "code": 80,
        "class": "record",
        "message": "",
        "parentid": 501,
        "childid": MISSING,
    }
    assert job["history"] == [
        {"at": job["accepted_at"], "event": "accepted"},
        {"at": job["finished_at"], "event": "failed"},
    ]
    assert len(job["requests"]) == job["attempts"] > 0


def test_a_superseded_job_names_the_job_that_did_it(front: Front, http: httpx.Client) -> None:
    messages = [{**BUYERS, "action": action, "childid": 1} for action in ("create", "delete")]
    first, last = (
        front.runtime.intake().accept([from_message(message).change])[0].job for message in messages
    )
    front.runtime.flush("acme")
    job = http.get(f"/v1/jobs/{first}").json()
    assert (job["state"], job["superseded_by"]) == ("superseded", last)


def test_pages_show_every_job_once_newest_first(front: Front, http: httpx.Client) -> None:
    sent, seen, cursor = send(front, *range(1, 8)), [], ""
    for _ in range(3):
        page = http.get("/v1/jobs", params={"account": "acme", "limit": 3, "cursor": cursor}).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next"]
    assert (seen, cursor) == (sent[::-1], None)


def test_pages_of_a_batch_end_with_its_last_job(front: Front, http: httpx.Client) -> None:
    for batch in ("other", "spring"):
        changes = [{**BUYER, "childid": child, "batch": batch} for child in range(1, 6)]
        assert front.client().post("/v1/changes", json=changes).status_code == 202
    query = {"account": "acme", "batch": "spring", "limit": 3}
    first = http.get("/v1/jobs", params=query).json()
    second = http.get("/v1/jobs", params={**query, "cursor": first["next"]}).json()
    assert ([len(page["jobs"]) for page in (first, second)], second["next"]) == ([3, 2], None)


def test_a_state_picks_jobs(front: Front, http: httpx.Client) -> None:
    good, bad = send(front, 1, MISSING)
    front.runtime.flush("acme")
    for state, job in (("succeeded", good), ("failed", bad)):
        assert [
            item["id"]
            for item in http.get("/v1/jobs", params={"account": "acme", "state": state}).json()["jobs"]
        ] == [job]


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ({}, ["account"]),
        (
            {"account": "acme", "relation": "x", "limit": "501", "state": "done", "cursor": "x"},
            ["relation", "state", "limit", "cursor"],
        ),
        ({"account": "acme", "limit": "0"}, ["limit"]),
        ({"account": "acme", "limit": "-1"}, ["limit"]),
        ({"account": "acme", "limit": "000000100999"}, ["limit"]),
        *(({"account": "acme", "cursor": text}, ["cursor"]) for text in ("9" * 400, ".5", "5.", "5.5.5")),
    ],
)
def test_a_query_that_cannot_be_answered_names_every_fault(
    http: httpx.Client, query: dict[str, str], faults: list[str]
) -> None:
    document = problem(http.get("/v1/jobs", params=query), 422)
    assert [error["path"] for error in document["errors"]] == faults


def test_a_job_that_is_not_there_is_not_found_and_one_of_another_account_is_not_revealed(
    front: Front, http: httpx.Client
) -> None:
    (job,) = send(front, 1)
    problem(http.get("/v1/jobs/acme-nothing"), 404)
    for name in (job.replace("acme", "beta"), "nothing", "-", "nobody-1"):
        problem(front.client("acme").get(f"/v1/jobs/{name}"), 403)
    problem(front.client("acme").get("/v1/jobs", params={"account": "beta"}), 403)
    problem(front.client(None).get(f"/v1/jobs/{job}"), 401)


def test_a_key_that_may_only_read_reads(front: Front) -> None:
    (job,) = send(front, 1)
    assert front.client("viewer").get(f"/v1/jobs/{job}").json()["id"] == job


def test_the_interface_is_healthy_without_redis_but_not_ready_and_accepts_nothing(
    tmp_path: Path, shared_front: Front
) -> None:
    with run_server(tmp_path / "redis") as server, running(tmp_path, server.url) as front:
        http = front.client()
        assert (http.get("/healthz").status_code, http.get("/readyz").status_code) == (200, 200)
        server.kill()
        assert http.get("/healthz").status_code == 200
        for answer in (http.get("/readyz"), http.post("/v1/changes", json=BUYERS)):
            problem(answer, 503)
            assert int(answer.headers["retry-after"]) >= 1
        server.restart()
        assert http.get("/readyz").status_code == 200
        assert http.post("/v1/changes", json=BUYERS).status_code == 202
