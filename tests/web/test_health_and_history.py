"""What programs get of what the pages show: who asks, how all is, what was done, what became of a job."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.lookups import COUNTS, gather, make_buckets
from producers.portals.http.deps import RareQuestion
from tests.support.http_front import BUYER, KEYS, MISSING, Front, problem
from tests.web.test_one_verdict import STATES, make_healthy
from worker.ports.metrics import AccountStats, HistoryPoint
from worker.ports.records import JobFilter

BUCKET = 300_000_000


def test_a_key_is_told_who_it_is_and_what_it_may(front: Front) -> None:
    for name, (_, accounts, can) in KEYS.items():
        if "read" in can:
            answer = front.client(name).get("/v1/me").json()
            assert answer == {"name": name, "can": list(can), "accounts": list(accounts)}


@pytest.mark.parametrize("state", [name for name in STATES if name not in ("full", "refuses")])
def test_the_verdict_is_the_worst_of_what_the_doctor_finds(front: Front, state: str) -> None:
    make, expected = STATES[state]
    make_healthy(front)
    make(front)
    answer = front.client("portal").get("/v1/health").json()
    assert len(answer["findings"]) == len(expected)
    levels = {finding["level"] for finding in answer["findings"]}
    assert answer["verdict"] == ("fail" if "fail" in levels else "warn" if levels else "ok")
    assert len(httpx.get(f"{front.url}/readyz").json().get("notes", [])) == len(expected)


def test_health_has_workers_and_the_sweep_and_no_other_accounts(front: Front) -> None:
    make_healthy(front)
    STATES["rejected"][0](front)
    answer = front.client("acme").get("/v1/health").json()
    assert (answer["verdict"], answer["findings"]) == ("ok", [])
    [worker] = answer["workers"]
    assert (worker["name"], worker["concurrency"], worker["alive"]) == ("w", 2, True)
    assert (answer["sweep"]["made"], answer["sweep"]["repaired"]) == (1, 0)


def test_what_became_of_each_relation_of_a_job(front: Front) -> None:
    job = front.client("portal").post("/v1/changes", json={**BUYER, "childid": [7, MISSING, 8]})
    id_ = job.json()["jobs"][0]["id"]
    url = f"/v1/jobs/{id_}/relations"
    http = front.client("acme")
    assert {each["outcome"] for each in http.get(url).json()["relations"]} == {"open"}
    for _ in range(6):
        front.runtime.flush("acme")
    first, second, third = http.get(url).json()["relations"]
    assert (first["parentid"], first["childid"], first["outcome"]) == (501, 7, "applied")
    assert front.client("acme").get(f"/v1/requests/{first['request']}?account=acme").status_code == 200
    assert (second["outcome"], second["error"]["code"]) == ("failed", 80)
    assert third["outcome"] == "applied"
    problem(http.get("/v1/jobs/acme-1m7y8t1vgssvve752b/relations"), 404)
    problem(http.get("/v1/jobs/beta-1m7y8t1vgssvve752b/relations"), 403)


def test_a_newer_change_is_named_as_the_reason(front: Front) -> None:
    http = front.client("portal")
    first = http.post("/v1/changes", json=BUYER).json()["jobs"][0]["id"]
    second = http.post("/v1/changes", json={**BUYER, "action": "delete"}).json()["jobs"][0]["id"]
    front.runtime.flush("acme")
    [outcome] = http.get(f"/v1/jobs/{first}/relations").json()["relations"]
    assert (outcome["outcome"], outcome["by"]) == ("superseded", second)


def test_jobs_are_found_by_the_event_id_of_their_producer(front: Front) -> None:
    http = front.client("portal")
    sent = [{**BUYER, "childid": child, "event_id": f"evt-{child}"} for child in (1, 2, 3)]
    ids = [job["id"] for job in http.post("/v1/changes", json=sent).json()["jobs"]]
    [found] = http.get("/v1/jobs", params={"account": "acme", "event_id": "evt-2"}).json()["jobs"]
    assert found["id"] == ids[1]
    unnamed = http.post("/v1/changes", json={**BUYER, "childid": 9}).json()["jobs"][0]["id"]
    own = http.get(f"/v1/jobs/{unnamed}").json()["event_id"]
    [found] = http.get("/v1/jobs", params={"account": "acme", "event_id": own}).json()["jobs"]
    assert found["id"] == unnamed
    acted = (
        front.client("admin").post("/v1/jobs/cancel", json={"account": "acme", "event_id": "evt-3"}).json()
    )
    assert acted["jobs"] == [ids[2]]


def test_totals_are_the_sums_of_the_accounts(front: Front) -> None:
    http = front.client("portal")
    http.post("/v1/changes", json=[BUYER, {**BUYER, "account": "beta"}, {**BUYER, "childid": 2}])
    answer = http.get("/v1/accounts").json()
    assert (answer["totals"]["backlog"], answer["totals"]["queued"], answer["totals"]["accepted"]) == (
        3,
        3,
        3,
    )
    for name in ("backlog", "open", "unresolved", "accepted"):
        assert answer["totals"][name] == sum(account[name] for account in answer["accounts"])


# --- history


def test_the_store_notes_the_counters_once_per_bucket_and_forgets_after_a_day(front: Front) -> None:
    metrics, http = front.runtime.metrics, front.client("portal")
    now = metrics.now()
    metrics.record_history(["acme", "beta"], at=now)
    http.post("/v1/changes", json=BUYER)
    metrics.record_history(["acme", "beta"], at=now)  # in the same bucket: nothing
    [point] = metrics.history("acme")
    assert (point.accepted, point.waiting) == (0, 0)
    for day in range(3):  # a ring: as many as a day has
        for bucket in range(288):
            metrics.record_history(["acme"], at=now - (3 * 288 - 288 * day - bucket) * BUCKET)
    assert front.runtime.client.hlen("relations:{acme}:history") == 288
    assert len(metrics.history("acme")) <= 288
    assert 0 < front.runtime.client.ttl("relations:{acme}:history") <= 2 * 86_400


def test_history_has_what_was_done_since_it_was_noted(front: Front) -> None:
    metrics, http = front.runtime.metrics, front.client("portal")
    metrics.record_history(["acme"], at=metrics.now() - BUCKET)
    http.post("/v1/changes", json=[BUYER, {**BUYER, "childid": MISSING}, BUYER])
    for _ in range(6):
        front.runtime.flush("acme")
    answer = http.get("/v1/history?account=acme").json()
    assert (answer["account"], answer["seconds"]) == ("acme", 300)
    [bucket] = answer["buckets"]
    assert (bucket["accepted"], bucket["applied"], bucket["superseded"], bucket["failed"]) == (3, 2, 0, 1)
    assert bucket["requests"] >= 1
    problem(front.client("acme").get("/v1/history?account=beta"), 403)


def test_a_point_of_another_release_is_no_point(front: Front) -> None:
    metrics, key = front.runtime.metrics, "relations:{acme}:history"
    now = metrics.now()
    front.runtime.client.hset(key, str(now // BUCKET % 288), f"[{now},1,2,3]")
    assert metrics.history("acme") == []
    metrics.record_history(["acme"], at=now)
    assert len(metrics.history("acme")) == 1


def test_the_sweep_notes_history(front: Front) -> None:
    front.runtime.sweep()
    assert len(front.runtime.metrics.history("acme")) == 1


points = st.lists(
    st.tuples(st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=8, max_size=8)), max_size=20
)


def stats_of(counts: list[int]) -> AccountStats:
    accepted, actions, requests, *outcomes, waiting = counts
    tally = dict(zip(("applied", "superseded", "stale", "failed"), outcomes, strict=True))
    return AccountStats(
        waiting,
        0,
        0,
        0,
        0,
        {"accepted": accepted, "actions": actions, "requests": requests},
        {f"outcomes:{name}": number for name, number in tally.items()},
        None,
    )


@given(points, st.lists(st.integers(10**6, 10**7), min_size=8, max_size=8))
def test_no_bucket_is_negative_and_rising_counters_lose_nothing(rows: Any, end: list[int]) -> None:
    sums, noted = [0] * 8, list[HistoryPoint]()
    for at, (_, counts) in enumerate(sorted(rows)):
        sums = [a + b for a, b in zip(sums, counts, strict=True)]
        noted.append(HistoryPoint(at * BUCKET, *sums))
    last = [a + b for a, b in zip(sums, end, strict=True)]
    buckets = make_buckets(noted, len(noted) * BUCKET, stats_of(last))
    assert len(buckets) == len(noted)
    for place, name in enumerate(COUNTS):
        assert all(getattr(bucket, name) >= 0 for bucket in buckets)
        if noted:
            assert sum(getattr(bucket, name) for bucket in buckets) == last[place] - noted[0][place + 1]


@given(st.lists(st.tuples(st.integers(0, 287), st.integers(0, 50)), max_size=50))
def test_gathering_keeps_every_count_within_its_span(rows: list[tuple[int, int]]) -> None:
    buckets = [HistoryPoint(at * BUCKET, number, 0, 0, number, 0, 0, 0, 1) for at, number in rows]
    bars = gather(buckets, start=0, seconds=1800, size=48)
    assert len(bars) == 48
    assert sum(bar.accepted for bar in bars) == sum(number for _, number in rows)
    assert [bar.at for bar in bars] == [at * 1_800_000_000 for at in range(48)]


def test_the_filter_of_the_store_knows_event_ids(front: Front) -> None:
    front.client("portal").post("/v1/changes", json={**BUYER, "event_id": "evt-1"})
    found = front.runtime.queries.find_jobs("acme", JobFilter(event_id="evt-1")).entries
    assert [job.event_id for job in found] == ["evt-1"]
    assert front.runtime.queries.find_jobs("acme", JobFilter(event_id="evt")).entries == ()


def test_the_answer_to_a_costly_question_is_kept_for_a_while() -> None:
    clock, asked = [0.0], [0]

    def ask() -> int:
        asked[0] += 1
        return asked[0]

    question = RareQuestion(ask, rest=lambda: 10.0, clock=lambda: clock[0])
    assert [question(), question()] == [1, 1]
    clock[0] = 9.9
    assert question() == 1
    clock[0] = 10.0
    assert question() == 2
