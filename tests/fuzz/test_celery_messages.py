"""Bad Celery messages: none ends a worker, and readable arguments of `relations.accept` are kept."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu import Producer

from ops.dev.stack import Shape, Stack, running
from producers.means import means
from producers.replay.prepare import prepare, start
from tests.torture.input_fuzz import EXAMPLES
from tests.torture.mutate import DEPTHS, NASTY, encode, garble, mutate, nest
from worker import wiring
from worker.contract import from_message
from worker.errors import InvalidChange
from worker.ports import UNROUTED, JobFilter, UnreadableMessage

GOOD = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": 9001,
}
SHAPES = (
    b"[]",
    b"[1, 2]",
    b"{}",
    b"null",
    b"7",
    b"[5, {}, {}]",
    b"[[], [], {}]",
    b"[[[1]], {}]",
    b'["x", "y", "z"]',
    b"[[[[[[[]]]]]],{},{}]",
)


@pytest.fixture
def tasks(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the tasks of a process with one account."""
    (tmp_path / "relations.toml").write_text(
        '[accounts.acme]\ntoken = "env:FUZZ_TOKEN"\nsecret = "env:FUZZ_TOKEN"\n'
    )
    monkeypatch.setenv("RELATIONS_CONFIG", str(tmp_path / "relations.toml"))
    monkeypatch.setenv("RELATIONS_REDIS_URL", redis_url)
    monkeypatch.setenv("FUZZ_TOKEN", "a-token-that-opens-nothing")
    monkeypatch.setattr(wiring, "_current", {})
    from worker import tasks

    yield tasks
    tasks.here().client.close()


def publish(stack: Stack, bodies: Sequence[bytes], **headers: object) -> None:
    """Messages for `relations.accept`, whatever is in them."""
    with stack.celery().connection_for_write() as connection:
        producer = Producer(connection.default_channel)
        for body in bodies:
            heads = {"lang": "py", "task": "relations.accept", "id": str(uuid4()), "retries": 0, **headers}
            producer.publish(
                body,
                routing_key="relations.intake",
                headers=heads,
                content_type="application/json",
                content_encoding="utf-8",
            )


def test_no_message_ends_a_worker(tmp_path: Path) -> None:
    rng = random.Random(1)
    deep = [b"[[%b],{},{}]" % (b"[" * levels + b"]" * levels) for levels in DEPTHS]
    odd = [encode(mutate([[GOOD], {}, {"callbacks": None}], rng), rng) for _ in range(60)]
    with running(tmp_path, Shape(accounts=("acme",), parts=("worker",), concurrency=1)) as stack:
        publish(stack, [*SHAPES, *deep, *odd, *(garble(body, rng) for body in odd)])
        for header, value in {
            "id": [1],
            "timelimit": 5,
            "retries": "x",
            "eta": "nonsense",
            "expires": [],
            "callbacks": 7,
            "task": [1],
        }.items():
            publish(stack, [b"[[],{},{}]"], **{header: value})
        publish(stack, [b"[[],{},{}]"], timelimit=["a", "b"])
        publish(stack, [b"[[],{},{}]"], stamps=[1], stamped_headers=5)
        publish(stack, [json.dumps([[{**GOOD, "batch": "last"}], {}, {}]).encode()])
        store, deadline = stack.runtime().store, time.monotonic() + 60
        while not store.batch_counts("acme", "last").get("accepted") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.batch_counts("acme", "last") | {"accepted": 1} == store.batch_counts("acme", "last")
        assert "Unrecoverable" not in stack.log("worker").read_text()


@pytest.mark.parametrize(
    ("args", "named", "kept"),
    [
        (([GOOD, GOOD],), {}, 2),
        ((GOOD,), {}, 1),
        ((GOOD, [GOOD]), {}, 2),
        ((), GOOD, 1),
        ((), {"changes": GOOD}, 0),
        (([GOOD, 7, None, {**GOOD, "parentid": 0}, [GOOD], {**GOOD, "account": "nobody"}, "x"],), {}, 1),
        (("[{}]",), {}, 0),
        ((), {}, 0),
        ((None, 7, [], {}, [[]], nest(GOOD, 500)), {"": ""}, 0),
    ],
)
def test_accept_keeps_what_it_can_read_however_it_is_handed_over(
    tasks: Any, args: Any, named: Any, kept: int
) -> None:
    assert tasks.accept.apply(args=args, kwargs=named).successful()
    assert accepted(tasks) == kept


def test_accept_takes_anything_at_all(tasks: Any) -> None:
    rng, expected = random.Random(2), 0
    for _ in range(60):
        changes = [
            rng.choice(NASTY),
            *(
                {**mutated, "account": "acme"}
                for mutated in (mutate(rng.choice(EXAMPLES), rng),)
                if isinstance(mutated, dict)
            ),
        ]
        assert tasks.accept.apply(args=(changes,), task_id=str(uuid4())).successful()
        expected += sum(map(taken, changes))
    assert accepted(tasks) <= expected
    assert expected > 0


def test_what_cannot_be_accepted_is_kept_and_keeps_nothing_else_from_it(tasks: Any) -> None:
    denied = {**GOOD, "action": "modify", "relationinfo": {"statusTerminbestaetigung": "gesendet"}}
    message = [
        GOOD,
        denied,
        {**GOOD, "childid": 0},
        {**GOOD, "childid": 2},
        {**GOOD, "account": "nobody", "childid": 3},
        "text",
    ]
    for _ in range(2):  # a redelivery is nothing new
        tasks.accept.apply(args=(message,), task_id="task-1")
    store, questions, acts = (getattr(tasks.here(), name) for name in ("store", "queries", "job_admin"))
    assert (accepted(tasks), store.counts("acme")["unreadable"]) == (2, 2)
    kept = {job.event_id: job for job in questions.find_jobs("acme", JobFilter(error="unreadable")).jobs}
    assert set(kept) == {"task-1:1", "task-1:2"}
    assert json.loads(acts.get_payload(kept["task-1:2"].id).body) == message[2]
    assert acts.get_payload(kept["task-1:2"].id).faults == (
        "childid: expected a positive integer or an array of them, got 0",
    )
    lost = questions.find_jobs(UNROUTED, JobFilter(error="unreadable")).jobs
    assert {acts.get_payload(job.id).body: job.event_id for job in lost} == {
        json.dumps(message[4]).encode(): "task-1:4",
        b'"text"': "task-1:5",
    }


def test_a_replay_is_worked_by_its_task(tasks: Any) -> None:
    here = tasks.here()
    here.intake().reject(
        UnreadableMessage("acme", "celery", "e", ("no",), json.dumps({**GOOD, "parentid": 0}).encode())
    )
    desk = means(here)
    replay = prepare(desk, "acme", JobFilter(error="unreadable"), by="ada", correction={"parentid": 5})
    assert tasks.replay.apply(args=(replay.id,)).successful()
    assert here.store.counts("acme")["accepted"] == 1  # nobody has started it
    start(desk, replay.id, by="ada")
    for _ in range(2):
        assert tasks.replay.apply(args=(replay.id,)).successful()
    assert here.job_admin.get_replay(replay.id).back == 1
    assert here.store.counts("acme")["backlog"] == 1


def accepted(tasks: Any) -> int:
    """Return the accepted changes of acme; unreadable messages are kept, too, but are no changes."""
    counts = tasks.here().store.counts("acme")
    return counts.get("accepted", 0) - counts.get("unreadable", 0)


def taken(message: object) -> bool:
    """Whether it is a change; policy may still refuse it."""
    try:
        return bool(from_message(message).change)
    except InvalidChange:
        return False


def test_a_message_delivered_again_is_the_same_job_also_if_its_event_id_is_null(tasks: Any) -> None:
    for message in ({**GOOD, "batch": "one"}, {**GOOD, "batch": "two", "event_id": None, "source": None}):
        for _ in range(2):
            tasks._take_in(tasks.here().intake(), [message], f"task-{message['batch']}", "")
    assert [tasks.here().store.batch_counts("acme", batch)["accepted"] for batch in ("one", "two")] == [1, 1]


AGAIN = """
import json
from celery.exceptions import Ignore
from worker import tasks
from worker.errors import StoreUnavailable

for waits in (0, 19, 20, 5000):
    headers = {tasks.WAITS: waits}
    tasks.accept.push_request(
        id="t1", retries=3, args=[{}], kwargs={}, headers=headers, called_directly=False
    )
    try:
        tasks._wait(tasks.accept, StoreUnavailable("Redis is full"))
    except Ignore:
        [text] = tasks.here().client.lrange("relations.intake", 0, -1)
        headers = json.loads(text)["headers"]
        print(headers["id"], headers["retries"], headers[tasks.WAITS])
        tasks.here().client.delete("relations.intake")
"""


def test_waiting_for_the_store_is_no_loss_and_never_ends(tmp_path: Path, redis_url: str) -> None:
    """In a process of its own, because Celery's application is made once in each."""
    (tmp_path / "relations.toml").write_text('[accounts.acme]\ntoken = "env:T"\nsecret = "env:T"\n')
    env = {
        **os.environ,
        "RELATIONS_CONFIG": str(tmp_path / "relations.toml"),
        "RELATIONS_REDIS_URL": redis_url,
        "T": "t",
    }
    run = subprocess.run(
        [sys.executable, "-c", AGAIN], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.stdout.splitlines() == [f"t1 3 {waits + 1}" for waits in (0, 19, 20, 5000)], run.stderr
