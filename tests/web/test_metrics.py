"""Metrics, read back by Prometheus's own parser; reference, alerts and dashboard name metrics that exist.

To write the reference again: RELATIONS_WRITE_REFERENCE=1 .venv/bin/pytest tests/web/test_metrics.py
"""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_text

from ops.dev.redis_server import run_server
from ops.web.metric_tables import (
    COUNTERS,
    DELIVERIES,
    GAUGES,
    HISTOGRAMS,
    PROCESS,
    REFUSALS,
    SYSTEM,
    TROUBLE,
    TROUBLE_LABELS,
)
from ops.web.metrics import SCRAPE_SECONDS
from ops.web.routes import operator_routes
from producers.portals.http.application import application
from producers.portals.http.refusals import LOGGED_A_MINUTE, Sampler
from tests.support.docs_pages import is_current
from tests.support.http_front import BUYER, KEYS, MISSING, Front
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.contract import from_message
from worker.ports.metrics import WorkerInfo
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry
from worker.redis.client import connect
from worker.wiring import Runtime

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "metrics.md"
RULES = ROOT / "ops" / "prometheus" / "rules.yml"
DASHBOARD = ROOT / "ops" / "grafana" / "dashboards" / "relations.json"
NOW = 1_800_000_000.0
TRACEPARENT = f"00-{'7' * 32}-{'7' * 16}-01"
HEAD = """# Metrics

`GET /metrics` of the HTTP interface, in Prometheus's text format or, for clients that ask, in OpenMetrics.
The numbers are kept in Redis: every process gives the same ones, they survive restarts, and one process is
enough to scrape. No key is asked for, so let no proxy pass it on.

Labels are accounts and words of this program, never ids. What a flush counted is added when it ends; one that
is killed takes its share of these with it. Accepted changes, outcomes and failures, requests and actions
that were sent, what operators did and all gauges of jobs are counted in the step that makes them so: exactly,
but for look-ups and other reads that no change is in doubt for, which count with the step that follows.

Counters never fall. Where what they count can be taken back, a gauge says what is true now: a failure that is
replayed stays in `relations_outcomes_total` and `relations_failed_total`, beside the outcome it has later,
but not in `relations_job_outcomes`; a cancelled or erased relation is `superseded` in both. Dismissing
changes neither: it takes the job out of `relations_unresolved`.

With 200 accounts a scrape is 0.9 MB and takes 0.12 s, 0.02 s of it in Redis (2 cores).
`ops/prometheus` has a scrape configuration and alert rules, `ops/grafana` a dashboard;
`docker compose --profile monitoring up -d` runs them.

| metric | kind | labels | what |
|---|---|---|---|
"""


def scrape(runtime: Runtime, accept: str = "", now: Callable[[], float] = lambda: NOW) -> httpx.Response:
    """Return the response of the interface over this runtime, at this time."""
    routes = operator_routes(runtime, send_replay=lambda _: None, now=now)
    app = application(runtime, more_routes=routes)

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/metrics", headers={"Accept": accept})

    return asyncio.run(get())


def families(front: Front) -> dict[str, Metric]:
    """Return every metric by its name, as Prometheus reads it."""
    return {family.name: family for family in read_text(scrape(front.runtime).text)}


def kept_numbers(runtime: Runtime) -> list[str]:
    """Return the lines of a scrape without the memory of Redis, which is another one at each scrape."""
    lines = scrape(runtime).text.splitlines()
    return [line for line in lines if not line.startswith("relations_store_memory_bytes ")]


def value(found: dict[str, Metric], sample: str, **labels: str) -> float:
    """Return the value of one sample."""
    (number,) = [
        item.value
        for family in found.values()
        for item in family.samples
        if item.name == sample and item.labels == labels
    ]
    return number


def flush_change(front: Front, *children: int) -> None:
    """Accept one change and flush it."""
    message = {
        "account": "acme",
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": 501,
        "childid": list(children),
    }
    front.runtime.intake().accept([from_message(message).change])
    front.runtime.flush("acme")


def sample_names() -> set[str]:
    """Return the name of every sample."""
    counted = {f"{name}_total" for name, *_ in (*COUNTERS, *REFUSALS, DELIVERIES)}
    buckets = {f"{name}_{part}" for name, _, _ in HISTOGRAMS for part in ("bucket", "count", "sum")}
    others = (name for name, *_ in (*GAUGES, *SYSTEM, *PROCESS, TROUBLE))
    return {*counted, *buckets, *others}


def reference() -> str:
    rows = [(item.name, "gauge", ["account", item.label], item.help) for item in GAUGES]
    rows += [(f"{item.name}_total", "counter", ["account", item.label], item.help) for item in COUNTERS]
    rows += [(name, "histogram", ["account"], text) for name, text, _ in HISTOGRAMS]
    rows += [
        (f"{name}_total", "counter", list(labels), text) for name, text, labels in (*REFUSALS, DELIVERIES)
    ]
    rows += [
        (name, "counter" if name.endswith("_total") else "gauge", [], text)
        for name, text, *_ in (*SYSTEM, *PROCESS)
    ]
    rows += [(TROUBLE[0], "gauge", [*TROUBLE_LABELS], TROUBLE[1])]
    lines = (
        f"| `{name}` | {kind} | {', '.join(f'`{item}`' for item in labels if item)} | {text} |\n"
        for name, kind, labels, text in rows
    )
    return HEAD + "".join(lines)


def test_what_was_done_is_counted(front: Front) -> None:
    flush_change(front, 1, 2, MISSING)
    front.store.pause("beta", Pause("hand"))
    found = families(front)
    assert value(found, "relations_accepted_total", account="acme") == 1
    assert value(found, "relations_outcomes_total", account="acme", outcome="applied") == 2
    assert value(found, "relations_failed_total", account="acme", **{"class": "record"}) == 1
    assert value(found, "relations_unresolved", account="acme") == 1
    assert value(found, "relations_splits_total", account="acme", of="stars") >= 1
    sent = value(found, "relations_requests_total", account="acme", feedback="ok")
    assert value(found, "relations_requests_sent_total", account="acme") == sent > 0
    assert value(found, "relations_request_seconds_count", account="acme") == sent
    assert value(found, "relations_waited_seconds_bucket", account="acme", le="+Inf") == 1
    assert value(found, "relations_paused", account="beta", reason="hand") == 1
    assert value(found, "relations_pace", account="beta") == 1


def wait_for_refusals(front: Front, name: str, count: int) -> dict[str, int]:
    """Return the numbers of refusals once this one is so high; they are written after a second."""
    read = front.runtime.metrics.refusals
    wait_until(lambda: read().get(name, 0) >= count, read)
    return read()


def test_refused_keys_and_webhooks_are_counted_by_reason_and_few_of_a_flood_are_logged(front: Front) -> None:
    httpx.post(f"{front.url}/webhooks/nobody", json={})
    before = wait_for_refusals(front, "webhook::unknown_source", 1)  # with those of the test before
    for _ in range(30):
        httpx.post(
            f"{front.url}/webhooks/desk", json={}, headers={"Authorization": "Bearer nonsense-of-a-flood"}
        )
    for headers in ({}, {"Authorization": "Bearer nobody"}, {"Authorization": f"Bearer {KEYS['viewer'][0]}"}):
        httpx.post(f"{front.url}/v1/changes", json=BUYER, headers=headers)
        httpx.post(f"{front.url}/v1/jobs/dismiss", json={"account": "beta", "error": "80"}, headers=headers)
    httpx.post(f"{front.url}/webhooks/nobody-{'x' * 40}", json={})
    front.client("admin").get("/v1/jobs", params={"account": "beta"})
    wait_for_refusals(front, "key:other_account", before.get("key:other_account", 0) + 1)
    found = families(front)
    refused = {
        reason: value(found, "relations_keys_refused_total", reason=reason) - before.get(f"key:{reason}", 0)
        for reason in ("no_key", "unknown_key", "no_right", "other_account")
    }
    assert refused == {"no_key": 2, "unknown_key": 2, "no_right": 2, "other_account": 1}
    assert value(found, "relations_webhooks_refused_total", source="desk", reason="secret") == 30
    assert value(found, "relations_webhooks_refused_total", source="", reason="unknown_source") == (
        before["webhook::unknown_source"] + 1
    )
    logged = [fields for event, fields in front.events if event == "webhook.refused"]
    assert len([fields for fields in logged if fields["source"] == "desk"]) <= LOGGED_A_MINUTE


def test_the_next_of_a_kind_says_how_many_were_not_logged() -> None:
    now = [0.0]
    sampler = Sampler(lambda: now[0])
    taken = [sampler.take("webhook", "desk", "secret") for _ in range(LOGGED_A_MINUTE + 25)]
    assert taken == [0] * LOGGED_A_MINUTE + [None] * 25
    assert sampler.take("webhook", "desk", "stale") == 0
    now[0] = 61.0
    assert [sampler.take("webhook", "desk", "secret") for _ in range(2)] == [25, 0]


def test_a_replayed_failure_leaves_the_gauge_and_stays_in_the_counter_and_people_s_ends_are_in_both(
    front: Front,
) -> None:
    def outcomes(result: str) -> tuple[float, float]:
        found = families(front)
        labels = {"account": "acme", "outcome": result}
        return (
            value(found, "relations_outcomes_total", **labels),
            value(found, "relations_job_outcomes", **labels),
        )

    flush_change(front, 1, MISSING)
    assert (outcomes("applied"), outcomes("failed")) == ((1, 1), (1, 1))
    failed = front.store.failed_jobs("acme", limit=9)
    front.store.requeue("acme", failed)
    assert outcomes("failed") == (1, 0)
    front.runtime.job_admin.cancel("acme", failed, AuditEntry("d1", "ada", "cancelled"))
    assert (outcomes("superseded"), outcomes("failed")) == ((1, 1), (1, 0))
    found = families(front)
    assert value(found, "relations_ended_jobs", account="acme", state="succeeded") == 1
    assert value(found, "relations_failed_total", account="acme", **{"class": "record"}) == 1


def test_every_process_gives_the_same_numbers_and_counters_only_rise(front: Front) -> None:
    flush_change(front, 1)
    before = families(front)
    other = Runtime(front.runtime.settings, wake=lambda *_: None)
    assert kept_numbers(other) == kept_numbers(front.runtime)
    other.client.close()
    flush_change(front, 2)
    after = families(front)
    for name, family in before.items():
        for item in family.samples if family.type in ("counter", "histogram") else ():
            (now,) = [
                one.value for one in after[name].samples if (one.name, one.labels) == (item.name, item.labels)
            ]
            assert now >= item.value


def test_only_workers_that_are_alive_are_counted(front: Front) -> None:
    for name, age in (("a", 1.0), ("b", 29.0), ("c", 31.0)):
        at = round((NOW - age) * 1e6)
        front.runtime.metrics.record_heartbeat(
            WorkerInfo(name=name, hostname="h", pid=1, concurrency=4, version="0.1.0", at=at)
        )
    found = families(front)
    assert (value(found, "relations_workers"), value(found, "relations_worker_processes")) == (2, 8)


def test_the_time_of_a_sweep_is_shown(front: Front) -> None:
    front.runtime.sweep()
    assert value(families(front), "relations_sweeps_total") == 1
    assert value(families(front), "relations_last_sweep_timestamp_seconds") > NOW - 1e9


def test_no_label_is_an_id(front: Front) -> None:
    flush_change(front, 1, MISSING)
    labels = {name for family in families(front).values() for item in family.samples for name in item.labels}
    named = {"account", "le", *TROUBLE_LABELS, *DELIVERIES[2]}
    assert labels <= named | {*(item.label for item in (*GAUGES, *COUNTERS))}
    words = {
        text
        for family in families(front).values()
        for item in family.samples
        for name, text in item.labels.items()
        if name != "le"
    }
    assert not [text for text in words if re.search(r"\d", text)]


def test_openmetrics_is_given_to_clients_that_ask_for_it(front: Front) -> None:
    flush_change(front, 1)
    answer = scrape(front.runtime, "application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in read_open(answer.text)} >= {
        "relations_accepted",
        "relations_request_seconds",
    }


def test_without_redis_a_scrape_says_so(front: Front) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        away = Runtime(
            front.runtime.settings,
            wake=lambda *_: None,
            client=connect(f"redis://127.0.0.1:{taken.getsockname()[1]}/0"),
        )
        lines = scrape(away).text.splitlines()
        assert [line for line in lines if not line.startswith("#")] == [
            "relations_store_up 0.0",
            "relations_settings_stale 0.0",
            "relations_wake_failing 0.0",
            'relations_trouble{account="",severity="page",trouble="store_away"} 1.0',
        ]


def test_a_scrape_ends_in_its_time_while_redis_hangs_for_longer(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SCRAPE_SECONDS < 5, "many a Prometheus waits no longer"
    monkeypatch.setattr("ops.web.metrics.SCRAPE_SECONDS", 0.2)
    with run_server(tmp_path) as server:
        client = connect(f"{server.url}?socket_timeout=600")
        runtime = Runtime(front.runtime.settings, wake=lambda *_: None, client=client)
        assert "relations_store_up 1.0" in scrape(runtime).text
        assert server.pid
        os.kill(server.pid, signal.SIGSTOP)
        # Nobody lets it go on meanwhile: what waited for it would have no answer for ten minutes.
        assert "relations_store_up 0.0" in scrape(runtime).text
        os.kill(server.pid, signal.SIGCONT)


def test_the_reference_is_current() -> None:
    assert is_current(REFERENCE, reference())


def test_alerts_and_dashboard_use_metrics_that_exist() -> None:
    board = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    expressions += re.findall(r"expr: (?:>-\n)?(.*?)\n +(?:for|labels):", RULES.read_text(), re.DOTALL)
    assert len(expressions) > 40
    assert {name for item in expressions for name in re.findall(r"\brelations_\w+", item)} <= sample_names()


def test_what_an_alert_sees_rise_is_there_before_its_first_rise(front: Front) -> None:
    """Prometheus takes the difference of two values: of one that begins at 1 it knows no rise."""
    risen = re.findall(r'increase\((relations_\w+)(?:{(\w+)="(\w+)"})?\[', RULES.read_text())
    samples = [item for family in families(front).values() for item in family.samples]
    assert len(risen) > 5
    for name, label, text in risen:
        found = [item for item in samples if item.name == name and item.labels.get(label or "account")]
        assert [item for item in found if not label or item.labels[label] == text], (name, label, text)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not on PATH")
def test_promtool_finds_no_fault(front: Front) -> None:
    flush_change(front, 1, MISSING)
    subprocess.run(
        ["promtool", "check", "metrics"], input=scrape(front.runtime).content, check=True, timeout=HANGS_AFTER
    )
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, timeout=HANGS_AFTER)


def test_a_request_is_followed_by_the_clients_correlation_id(front: Front, http: httpx.Client) -> None:
    message = {
        "account": "acme",
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": 502,
        "childid": 7,
    }
    answer = http.post(
        "/v1/changes", json=message, headers={"X-Correlation-Id": "order-4711", "X-Request-Id": "other"}
    )
    assert answer.headers["x-correlation-id"] == "order-4711"
    front.runtime.flush("acme")
    job = http.get(f"/v1/jobs/{answer.json()['jobs'][0]['id']}").json()
    assert job["correlation_id"] == "order-4711"
    record = front.store.get_request("acme", job["requests"][0])
    assert record is not None
    assert record.correlations == ("order-4711",)
    lines = [
        fields["correlations"] for event, fields in front.events if event in ("request.done", "flush.done")
    ]
    assert lines == [["order-4711"]] * 2


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Request-Id": "proxy-1"}, "proxy-1"),
        ({"X-Correlation-Id": "two words", "X-Request-Id": "proxy-1"}, "proxy-1"),
        ({"X-Correlation-Id": "x" * 61}, None),
        ({"X-Request-Id": "proxy-1", "traceparent": TRACEPARENT}, TRACEPARENT),
        ({"X-Request-Id": "proxy-1", "traceparent": TRACEPARENT.replace("7", "0")}, "proxy-1"),
        ({"X-Correlation-Id": "order-1", "traceparent": TRACEPARENT}, "order-1"),
        ({"X-Correlation-Id": "two words", "traceparent": TRACEPARENT}, TRACEPARENT),
        ({"traceparent": TRACEPARENT.replace("7", "0")}, None),
        ({"traceparent": "order-4711"}, None),
        ({}, None),
    ],
)
def test_a_request_without_a_usable_correlation_id_gets_one(
    http: httpx.Client, headers: dict[str, str], expected: str | None
) -> None:
    answers = [http.get("/healthz", headers=headers).headers["x-correlation-id"] for _ in range(2)]
    assert answers == [expected, expected] if expected else len(set(answers)) == 2
    assert http.get("/v1/jobs/none", headers={"X-Correlation-Id": "a"}).headers["x-correlation-id"] == "a"
