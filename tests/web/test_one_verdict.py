"""The doctor, `/readyz` and the alerts tell the same of the same system: one function decides."""

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from ops.doctor.accounts import check_account
from ops.doctor.rights import check_store_rights
from ops.doctor.workers import check_system, check_workers
from ops.lookups import describe_resumed, resume_account
from tests.support.http_front import BUYER, Front
from worker import wiring
from worker.celery_config import queue_names
from worker.contract import from_message
from worker.ports.metrics import WorkerInfo
from worker.ports.pace import Pause
from worker.store.redis_store import RedisStore
from worker.usecases.health import SEVERITIES
from worker.usecases.intake import Intake

RULES = Path(__file__).parents[2] / "ops/prometheus/rules.yml"
Troubles = set[tuple[str, str]]


def make_healthy(front: Front) -> None:
    metrics = front.runtime.metrics
    worker = WorkerInfo(name="w", hostname="h", pid=1, concurrency=2, version="1", at=metrics.now())
    metrics.record_heartbeat(worker)
    metrics.record_sweep(0, at=metrics.now())


def open_breaker(front: Front) -> None:
    for _ in range(5):
        front.runtime.limiter.book("acme", rate=1000, burst=1000, max_wait=1)
        front.runtime.limiter.report("acme", "failed")


def let_wait(front: Front) -> None:
    """Accept a change as of six minutes ago."""
    store = RedisStore(front.runtime.client, "relations", now=lambda: (time.time_ns() // 1000) - 360_000_000)
    intake = front.runtime.intake()
    old = Intake(
        store=store, policy_of=intake.policy_of, new_id=intake.new_id, wake=intake.wake, emit=intake.emit
    )
    old.accept([from_message(BUYER).change])


def fill(front: Front) -> None:
    used = front.runtime.client.info("memory")["used_memory"]
    front.runtime.client.config_set("maxmemory", round(used / 0.95))


STATES: dict[str, tuple[Callable[[Front], object], Troubles]] = {
    "healthy": (lambda front: None, set()),
    "no worker": (lambda front: front.runtime.metrics.remove_worker("w"), {("no_worker", "")}),
    "no sweep": (lambda front: front.runtime.client.delete("relations:sweep"), {("no_sweep", "")}),
    "rejected": (lambda front: front.store.pause("beta", Pause("credentials", "no")), {("paused", "beta")}),
    "by hand": (lambda front: front.store.pause("acme", Pause("hand", "x")), {("paused_by_hand", "acme")}),
    "breaker": (open_breaker, {("breaker_open", "acme")}),
    "old": (let_wait, {("backlog_old", "acme")}),
    "refuses": (
        lambda front: front.runtime.client.config_set("min-replicas-to-write", 1),
        {("store_refuses", "")},
    ),
    "full": (fill, {("store_full", "")}),
    "set back": (
        lambda front: front.runtime.metrics.record_reverted(at=front.runtime.metrics.now()),
        {("store_reverted", "")},
    ),
    "unreadable": (
        lambda front: front.runtime.client.hset("relations:{acme}:counts", "accepted", "x"),
        {("unreadable", "acme")},
    ),
    "unreadable type": (
        lambda front: front.runtime.client.set("relations:{beta}:pace", "x"),
        {("unreadable", "beta")},
    ),
    "several": (
        lambda front: (front.runtime.client.flushall(), open_breaker(front)),
        {("no_worker", ""), ("no_sweep", ""), ("breaker_open", "acme")},
    ),
}


def read_alerts(front: Front) -> dict[tuple[str, str], str]:
    """Return what alerts see: troubles by name and account, with their severity."""
    return {
        (sample.labels["trouble"], sample.labels["account"]): sample.labels["severity"]
        for family in text_string_to_metric_families(httpx.get(f"{front.url}/metrics").text)
        for sample in family.samples
        if sample.name == "relations_trouble" and sample.value == 1
    }


def levels_of_doctor(front: Front) -> Counter[str]:
    runtime = front.runtime
    health, queues = runtime.read_health(), queue_names(runtime.settings.prefix)
    found = [check_workers({"w": [{"name": name} for name in queues]}, queues, health)]
    found += [*check_system(health), *check_store_rights(runtime.client, runtime.settings.prefix)]
    for account in runtime.settings.accounts.values():
        found += check_account(account, health)
    return Counter(finding.level for finding in found if finding.level != "ok")


@pytest.mark.parametrize("state", STATES)
def test_all_three_tell_the_same(front: Front, redis_client: redis.Redis, state: str) -> None:
    make, expected = STATES[state]
    make_healthy(front)
    try:
        make(front)
        alerts = read_alerts(front)
        ready = httpx.get(f"{front.url}/readyz")
        levels = levels_of_doctor(front)
    finally:
        redis_client.config_set("maxmemory", 0)
        redis_client.config_set("min-replicas-to-write", 0)
    assert alerts == {(name, account): SEVERITIES[name] for name, account in expected}
    assert ready.status_code == (503 if state == "refuses" else 200)
    notes = [ready.json()["detail"]] if state == "refuses" else ready.json().get("notes", [])
    assert len(notes) == len(expected)
    assert all(any(f"account {account}: " in note for note in notes) for _, account in expected if account)
    assert levels == Counter({"page": "fail", "ticket": "warn"}[SEVERITIES[name]] for name, _ in expected)


def test_a_health_check_asks_once_whether_changes_are_taken(front: Front, redis_client: redis.Redis) -> None:
    def count_probes() -> int:
        calls: int = redis_client.info("commandstats").get("cmdstat_eval", {}).get("calls", 0)
        return calls

    make_healthy(front)
    before = count_probes()
    for _ in range(10):
        assert httpx.get(f"{front.url}/readyz").json() == {"status": "ok"}
    assert count_probes() == before + 10


def test_what_a_process_knows_of_itself_is_told_by_it(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    make_healthy(front)
    monkeypatch.setattr(front.runtime.wake, "trouble", "OperationalError: no", raising=False)
    assert read_alerts(front) == {("not_woken", ""): "page"}
    assert httpx.get(f"{front.url}/readyz").json()["notes"] == [
        "accepted but not woken: OperationalError: no"
    ]


def test_a_clock_of_the_store_that_is_behind_is_told(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = SimpleNamespace(time=lambda: time.time() + 330.0)  # all goes by the store's clock but this
    monkeypatch.setattr(wiring, "time", behind)
    make_healthy(front)
    assert read_alerts(front) == {("clock_off", ""): "ticket"}
    [note] = httpx.get(f"{front.url}/readyz").json()["notes"]
    assert re.match(r"Redis's clock is -33\d s from this machine's: ", note)


def test_every_trouble_has_one_alert_of_its_severity() -> None:
    pattern = r'expr: relations_trouble\{trouble="(\w+)"\} == 1\n +for: \w+\n +labels: \{severity: (\w+)\}'
    assert dict(re.findall(pattern, RULES.read_text())) == SEVERITIES


def test_resuming_says_and_audits_what_it_did_to_a_breaker(front: Front) -> None:
    open_breaker(front)
    answer = front.client("admin").post("/v1/accounts/acme/resume").json()
    assert (answer["was_paused"], answer["breaker_was"]) == (False, "open")
    assert answer["pace_was"] < 1
    [entry] = front.runtime.job_admin.audit_log("acme").entries
    assert (entry.by, entry.act, entry.count) == ("admin", "resumed", 1)
    assert "Its breaker was open (failed): it is closed" in entry.note
    assert front.runtime.limiter.state("acme")["breaker"] == "closed"
    again = resume_account(front.runtime, "acme", by="ada", now=time.time())
    assert list(describe_resumed(again)) == ["acme was not paused."]
    assert len(front.runtime.job_admin.audit_log("acme").entries) == 1  # nothing was done
    front.store.pause("acme", Pause("hand"))
    open_breaker(front)
    lines = list(describe_resumed(resume_account(front.runtime, "acme", by="ada", now=time.time())))
    assert lines[0] == "acme goes on."
    assert front.runtime.job_admin.audit_log("acme").entries[0].note == " ".join(lines[1:])
