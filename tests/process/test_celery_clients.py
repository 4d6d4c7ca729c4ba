"""A producer that has nothing but Celery: no code of ours; changes are sent by a task's name."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from celery import Celery

from ops.dev.stack import QUICK, Shape, Stack, running
from producers.services import build_services
from tests.support.deploy_work import CHANGE
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.contract.message import UNROUTED
from worker.ports.records import JobFilter, JobRecord

CLIENT = """
import json, sys
from celery import Celery

app = Celery(broker=sys.argv[1])
for changes in json.load(sys.stdin):
    app.send_task("relations.accept", [changes], queue="relations.intake")
print(sorted({"worker", "producers", "ops"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run a worker, and all that it needs."""
    shape = Shape(accounts=("nord",), defaults={**QUICK, "window": 0.1}, parts=("worker",), concurrency=1)
    with running(tmp_path_factory.mktemp("clients"), shape) as stack:
        yield stack


def send(stack: Stack, folder: Path, *messages: object) -> None:
    """Run the client on its own; nothing in its environment leads it to our code."""
    (folder / "client.py").write_text(CLIENT)
    command = [sys.executable, "-I", str(folder / "client.py"), stack.broker_url]
    printed = subprocess.run(
        command,
        input=json.dumps(messages),
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        check=True,
        timeout=HANGS_AFTER,
    )
    assert printed.stdout.strip() == "[]"


def wait_finished(stack: Stack, batch: str, number: int) -> list[JobRecord]:
    """Return the jobs of a label, oldest first, once so many are done."""
    queries = stack.runtime(wakes=False).queries

    def find_done() -> tuple[JobRecord, ...]:
        jobs = queries.find_jobs("nord", JobFilter(batch=batch)).entries
        return jobs if sum(bool(job.finished_at) for job in jobs) == number else ()

    return list(reversed(wait_until(find_done, "the jobs do not end")))


def test_a_bare_celery_application_sends_one_change_or_many(stack: Stack, tmp_path: Path) -> None:
    many = [{**CHANGE, "batch": "bare", "parentid": 502, "childid": child} for child in (1, 2)]
    send(stack, tmp_path, {**CHANGE, "batch": "bare"}, many)
    jobs = wait_finished(stack, "bare", 3)
    assert [job.state for job in jobs] == ["succeeded"] * 3
    assert {(job.parents, job.children) for job in jobs} == {
        ((501,), (9001,)),
        ((502,), (1,)),
        ((502,), (2,)),
    }
    assert {job.source for job in jobs} == {"celery"}


def test_the_same_event_sent_twice_is_one_job_and_a_bad_change_spares_the_others(
    stack: Stack, tmp_path: Path
) -> None:
    named = {**CHANGE, "batch": "twice", "childid": 77, "event_id": "enquiry-4711"}
    send(
        stack,
        tmp_path,
        [named, {**named, "event_id": "other", "parentid": 0}],
        named,
        {**named, "event_id": "last"},
    )
    assert [job.event_id for job in wait_finished(stack, "twice", 2)] == ["enquiry-4711", "last"]


VALUES = """
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from celery import Celery

app = Celery(broker=sys.argv[1])
change = {"account": "nord", "action": "create", "relationtype": "estate:address:interested"}
change["batch"] = "values"
yesterday = datetime.now(UTC) - timedelta(days=1)
times = {"occurred_at": yesterday, "event_id": UUID(int=7)}
naive = {"event_id": "naive", "occurred_at": yesterday.replace(tzinfo=None)}
app.send_task("relations.accept", [[
    {**change, **times, "parentid": Decimal("505.0"), "childid": [1.0, Decimal(2)]},
    {**change, "event_id": date(2026, 11, 21), "parentid": 505, "childid": 3},
    {**change, **naive, "parentid": 505, "childid": 4},
]], queue="relations.intake")
for serializer in ("pickle", "yaml"):
    changes = [{**change, "batch": "canary-body", "parentid": 1, "childid": 1}]
    app.send_task("relations.accept", [changes], queue="relations.intake", serializer=serializer)
"""


def test_values_of_python_are_read_and_what_is_no_json_is_kept(stack: Stack) -> None:
    subprocess.run([sys.executable, "-c", VALUES, stack.broker_url], check=True, timeout=HANGS_AFTER)
    good = wait_finished(stack, "values", 2)
    assert [(job.event_id, job.parents, job.children) for job in good] == [
        (str(UUID(int=7)), (505,), (1, 2)),
        ("2026-11-21", (505,), (3,)),
    ]
    runtime = stack.runtime(wakes=False)
    queries, admin = runtime.queries, runtime.job_admin
    unreadable = JobFilter(error="unreadable")
    wait_until(lambda: len(queries.find_jobs(UNROUTED, unreadable).entries) >= 2, "they are not kept")
    kept = queries.find_jobs(UNROUTED, unreadable).entries
    payloads = [payload for job in reversed(kept) if (payload := admin.get_payload(job.id))]
    for payload, name in zip(payloads, ("application/x-python-serialize", "application/x-yaml"), strict=True):
        assert payload.faults == (
            f"expected a message in JSON, got \"{name}\" (ContentDisallowed); set task_serializer='json'",
        )
        assert b"canary-body" in payload.body
    assert "canary-body" not in stack.log("worker").read_text()
    (naive,) = [job for job in queries.find_jobs("nord", unreadable).entries if job.event_id == "naive"]
    services = build_services(runtime)
    correction = {"occurred_at": datetime.now(timezone(timedelta(hours=1))).isoformat(" ", "seconds")}
    replay = services.replays.prepare("nord", [naive.id], by="ada", correction=correction)
    assert (replay.eligible, replay.refused) == (1, {})


def test_a_task_of_the_sender_that_follows_is_sent_to_its_queue(stack: Stack) -> None:
    app = Celery(broker=stack.broker_url)
    change = {**CHANGE, "batch": "followed", "parentid": 506}
    accept = app.signature("relations.accept", args=([change],), queue="relations.intake", immutable=True)
    follow = app.signature("shop.notify", args=("done",), queue="shop", immutable=True)
    (accept | follow).apply_async()
    accept.apply_async(link=follow)
    assert [job.state for job in wait_finished(stack, "followed", 2)] == ["succeeded"] * 2
    with app.connection_for_read() as connection, connection.SimpleQueue("shop") as queue:
        messages = [queue.get(timeout=HANGS_AFTER) for _ in range(2)]
    assert [message.headers["task"] for message in messages] == ["shop.notify"] * 2
    assert "raised unexpected" not in stack.log("worker").read_text()


def test_a_task_of_others_is_kept_and_says_which_task_to_send(stack: Stack) -> None:
    app, runtime = Celery(broker=stack.broker_url), stack.runtime(wakes=False)
    sent = app.send_task("shop.notify", queue="relations.ops", ignore_result=True)
    kept = JobFilter(event_id=f"{sent.id}:0")
    (job,) = wait_until(lambda: runtime.queries.find_jobs(UNROUTED, kept).entries, "it is not kept")
    payload = runtime.job_admin.get_payload(job.id)
    assert payload is not None
    assert payload.faults == (
        "expected a message to the task relations.accept, "
        'got "a message that Celery refuses" (NotRegistered); '
        "send a change, or a list of them, as its argument",
    )


def test_the_correlation_of_a_message_is_kept_with_the_job_and_the_request(stack: Stack) -> None:
    app = Celery(broker=stack.broker_url)
    for label, headers in (
        ("called", {"X-Correlation-Id": "order-4711"}),
        ("unnamed", {"X-Correlation-Id": "not fit\n"}),
    ):
        change = {**CHANGE, "batch": label, "parentid": 504}
        sent = app.send_task(
            "relations.accept", [change], queue="relations.intake", headers=headers, ignore_result=True
        )
        (job,) = wait_finished(stack, label, 1)
        assert job.correlation == ("order-4711" if label == "called" else sent.id)
        record = stack.runtime(wakes=False).store.get_request("nord", job.requests[0])
        assert record is not None
        assert record.correlations == (job.correlation,)


def test_a_worker_records_its_heartbeat(stack: Stack) -> None:
    (worker,) = wait_until(stack.runtime(wakes=False).metrics.list_workers, "no worker runs")
    assert worker.concurrency == 1
    assert worker.name.endswith(worker.hostname)
