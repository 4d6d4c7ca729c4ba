"""Traces through real processes: the interface, Celery, a worker's child; and none where they are off."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

pytest.importorskip("opentelemetry.sdk", reason="the extra telemetry is not installed")

from ops.dev.stack import QUICK, Shape, Stack, running
from tests.support.trace_collector import collect
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.ports.records import JobFilter

OVER_HTTP, BY_CELERY, REFUSED = ("1" * 32, "a" * 16), ("2" * 32, "b" * 16), ("3" * 32, "c" * 16)
# redis-py imports the SDK's metrics by itself, wherever they are installed.
MODULES = """
import json, sys
from producers.portals.http import application
from ops.cli.commands import api
from worker.tasks import get_runtime
get_runtime().intake()
parts = ("worker.traces", "opentelemetry.exporter", "opentelemetry.proto", "opentelemetry.sdk.trace.export")
print(json.dumps([name for name in sys.modules if name.startswith(parts)]))
"""


def traceparent(span: tuple[str, str]) -> str:
    return f"00-{span[0]}-{span[1]}-01"


def change(**other: object) -> dict[str, object]:
    known = {"account": "nord", "action": "create", "relationtype": "estate:address:interested"}
    return {**known, "parentid": 501, "childid": 9001, "batch": "traced", **other}


def wait_finished(stack: Stack, number: int) -> None:
    queries = stack.runtime(wakes=False).queries

    def is_done() -> bool:
        jobs = queries.find_jobs("nord", JobFilter(batch="traced")).entries
        return sum(bool(job.finished_at) for job in jobs) == number

    wait_until(is_done, "the jobs do not end")


def test_a_change_is_followed_from_who_sent_it_through_the_interface_to_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape(accounts=("nord",), defaults=QUICK, parts=("worker", "api"), concurrency=1)
    with collect() as collector:
        monkeypatch.setenv("RELATIONS_TRACES", "otlp")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")  # so that the ends of the processes must send
        with running(tmp_path, shape) as stack:
            key = {"Authorization": f"Bearer {stack.key}"}
            for body, span in ((change(), OVER_HTTP), (change(parentid=0), REFUSED)):
                headers = {**key, "traceparent": traceparent(span)}
                answer = stack.http.post(f"{stack.url}/v1/changes", json=body, headers=headers)
                assert answer.headers["x-correlation-id"] == traceparent(span)
            Celery(broker=stack.broker_url).send_task(
                "relations.accept",
                [change(parentid=502)],
                queue="relations.intake",
                headers={"traceparent": traceparent(BY_CELERY)},
                ignore_result=True,
            )
            wait_finished(stack, 2)
            assert collector.spans == []

        (body,) = collector.named("POST /v1/changes")
        assert (body.service, body.trace, body.parent) == ("relations-api", *OVER_HTTP)
        assert body.attributes["http.response.status_code"] == 202
        for name in ("flush", "request"):
            spans = collector.named(name)
            assert {link for span in spans for link in span.links} == {OVER_HTTP, BY_CELERY}
            assert {span.service for span in spans} == {"relations-worker"}
        flushes = {span.id for span in collector.named("flush")}
        assert {span.parent for span in collector.named("request")} <= flushes
        assert b"9001" not in b"".join(collector.bodies)


def test_without_traces_nothing_of_them_is_imported(tmp_path: Path) -> None:
    environ = {**os.environ, "RELATIONS_TRACES": "", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    printed = subprocess.run(
        [sys.executable, "-c", MODULES],
        cwd=tmp_path,
        env={**environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=HANGS_AFTER,
    )
    assert json.loads(printed.stdout) == []
