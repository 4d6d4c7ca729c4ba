"""What Prometheus scrapes, read back by its own parser; the reference, the alerts and the dashboard speak of what is there.

To write the reference anew: RELATIONS_WRITE_REFERENCE=1 .venv/bin/pytest tests/web/test_metrics.py
"""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_text

from ops.web.metrics import COUNTERS, GAUGES, HISTOGRAMS, SYSTEM
from ops.web.routes import operator_routes
from producers.portals.http.application import application
from tests.support.http_front import MISSING, Front
from worker.contract import from_message
from worker.ports import Pause, WorkerInfo
from worker.wiring import Runtime

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "metrics.md"
RULES = ROOT / "ops" / "prometheus" / "rules.yml"
DASHBOARD = ROOT / "ops" / "grafana" / "dashboards" / "relations.json"
NOW = 1_800_000_000.0
HEAD = """# Metrics

`GET /metrics` of the HTTP interface, in Prometheus's text format or, for who asks for it, OpenMetrics. The numbers are kept in Redis: every
process tells the same, they survive restarts, and one process is enough to scrape. Nobody is asked for a key, so let no proxy pass it on.

Labels are accounts and words of this program, never ids. What a flush counted is added when it ends; one that is killed takes its share of
these with it. Accepted changes, requests, actions and jobs are counted with what they count, and are exact.

Of 200 accounts, 850 kB are told in 0.12 s, of which Redis is asked for 0.02 s (2 cores, one machine). `ops/prometheus` has a scrape
configuration and alert rules, `ops/grafana` a dashboard; `docker compose --profile monitoring up -d` runs them.

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
    """Every metric by its name, as Prometheus reads it."""
    return {family.name: family for family in read_text(scrape(front.runtime).text)}


def value(found: dict[str, Metric], sample: str, **labels: str) -> float:
    """One sample."""
    (number,) = [
        each.value
        for family in found.values()
        for each in family.samples
        if each.name == sample and each.labels == labels
    ]
    return number


def work(front: Front, *children: int) -> None:
    """One change, flushed."""
    message = {
        "account": "acme",
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": 501,
        "childid": list(children),
    }
    front.runtime.intake().accept([from_message(message).change])
    front.runtime.flush("acme")


def names() -> set[str]:
    """Every sample that may be asked for."""
    counted = {each.name + "_total" for each in COUNTERS}
    buckets = {f"{name}_{part}" for name, _, _ in HISTOGRAMS for part in ("bucket", "count", "sum")}
    return {*(each.name for each in GAUGES), *counted, *buckets, *(name for name, _ in SYSTEM)}


def reference() -> str:
    rows = [(each.name, "gauge", ["account", each.label], each.help) for each in GAUGES]
    rows += [(f"{each.name}_total", "counter", ["account", each.label], each.help) for each in COUNTERS]
    rows += [(name, "histogram", ["account"], text) for name, text, _ in HISTOGRAMS]
    rows += [(name, "counter" if name.endswith("_total") else "gauge", [], text) for name, text in SYSTEM]
    said = (
        f"| `{name}` | {kind} | {', '.join(f'`{each}`' for each in labels if each)} | {text} |\n"
        for name, kind, labels, text in rows
    )
    return HEAD + "".join(said)


def test_what_was_done_is_told(front: Front) -> None:
    work(front, 1, 2, MISSING)
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


def test_every_process_tells_the_same_and_counters_only_rise(front: Front) -> None:
    work(front, 1)
    before = families(front)
    other = Runtime(front.runtime.settings, wake=lambda *_: None)
    assert scrape(other).content == scrape(front.runtime).content
    other.client.close()
    work(front, 2)
    after = families(front)
    for name, family in before.items():
        for each in family.samples if family.type in ("counter", "histogram") else ():
            (now,) = [
                one.value for one in after[name].samples if (one.name, one.labels) == (each.name, each.labels)
            ]
            assert now >= each.value


def test_only_workers_that_are_alive_are_counted(front: Front) -> None:
    for name, age in (("a", 1.0), ("b", 29.0), ("c", 31.0)):
        at = round((NOW - age) * 1e6)
        front.runtime.metrics.record_heartbeat(
            WorkerInfo(name=name, hostname="h", pid=1, concurrency=4, version="0.1.0", at=at)
        )
    found = families(front)
    assert (value(found, "relations_workers"), value(found, "relations_worker_processes")) == (2, 8)


def test_a_sweep_leaves_its_time(front: Front) -> None:
    front.runtime.sweep()
    assert value(families(front), "relations_sweeps_total") == 1
    assert value(families(front), "relations_last_sweep_timestamp_seconds") > NOW - 1e9


def test_no_label_is_an_id(front: Front) -> None:
    work(front, 1, MISSING)
    labels = {name for family in families(front).values() for each in family.samples for name in each.labels}
    assert labels <= {"account", "le", *(each.label for each in (*GAUGES, *COUNTERS))}
    words = {
        text
        for family in families(front).values()
        for each in family.samples
        for name, text in each.labels.items()
        if name != "le"
    }
    assert not [text for text in words if re.search(r"\d", text)]


def test_openmetrics_is_spoken_to_who_asks_for_it(front: Front) -> None:
    work(front, 1)
    answer = scrape(front.runtime, "application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in read_open(answer.text)} >= {
        "relations_accepted",
        "relations_request_seconds",
    }


def test_without_redis_it_says_so(front: Front) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        from worker.redis.client import connect

        away = Runtime(
            front.runtime.settings,
            wake=lambda *_: None,
            client=connect(f"redis://127.0.0.1:{taken.getsockname()[1]}/0"),
        )
        assert scrape(away).status_code == 503


def test_the_reference_is_current() -> None:
    if os.environ.get("RELATIONS_WRITE_REFERENCE"):
        REFERENCE.write_text(reference(), encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == reference()


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    asked += re.findall(r"expr: (?:>-\n)?(.*?)\n +(?:for|labels):", RULES.read_text(), re.DOTALL)
    assert len(asked) > 40
    assert {name for each in asked for name in re.findall(r"\brelations_\w+", each)} <= names()


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not on PATH")
def test_promtool_finds_no_fault(front: Front) -> None:
    work(front, 1, MISSING)
    subprocess.run(
        ["promtool", "check", "metrics"], input=scrape(front.runtime).content, check=True, timeout=60
    )
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, timeout=60)


def test_a_request_is_followed_by_the_clients_name_for_it(front: Front, http: httpx.Client) -> None:
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
        fields["correlations"] for event, fields in front.said if event in ("request.done", "flush.done")
    ]
    assert lines == [["order-4711"]] * 2


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"X-Request-Id": "proxy-1"}, "proxy-1"),
        ({"X-Correlation-Id": "two words", "X-Request-Id": "proxy-1"}, "proxy-1"),
        ({"X-Correlation-Id": "x" * 61}, None),
        ({}, None),
    ],
)
def test_a_request_without_a_fit_name_gets_one(
    http: httpx.Client, headers: dict[str, str], said: str | None
) -> None:
    answers = [http.get("/healthz", headers=headers).headers["x-correlation-id"] for _ in range(2)]
    assert answers == [said, said] if said else len(set(answers)) == 2
    assert http.get("/v1/jobs/none", headers={"X-Correlation-Id": "a"}).headers["x-correlation-id"] == "a"
