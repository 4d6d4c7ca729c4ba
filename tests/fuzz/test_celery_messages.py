"""Bad Celery messages: none ends a worker, and `relations.accept` keeps what can be read of any arguments."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu import Producer

from ops.dev.stack import Shape, Stack, running
from producers.services import build_services
from tests.support.celery_messages import GOOD
from tests.support.waiting import HANGS_AFTER, wait_until
from tests.torture.input_fuzz import EXAMPLES
from tests.torture.mutate import DEPTHS, NASTY, encode, garble, mutate, nest
from worker import log, tasks
from worker.celery_config import worker_config
from worker.celery_patches import MAX_DELAY
from worker.config import load_settings
from worker.config.secret import HiddenValues
from worker.contract import from_message
from worker.contract.message import UNROUTED
from worker.errors import InvalidChange
from worker.ports.job_admin import Payload
from worker.ports.records import JobFilter, JobRecord
from worker.ports.store import UnreadableMessage
from worker.usecases.intake import accept_messages, keep_undecoded
from worker.wiring import Runtime

TOKEN = "a-token-that-opens-nothing"
UNREADABLE = JobFilter(error="unreadable")
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
def runtime(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """Yield the runtime that the tasks of this process use, with one account."""
    (tmp_path / "relations.toml").write_text(
        '[accounts.acme]\ntoken = "env:FUZZ_TOKEN"\nsecret = "env:FUZZ_TOKEN"\n'
    )
    monkeypatch.setenv("RELATIONS_CONFIG", str(tmp_path / "relations.toml"))
    monkeypatch.setenv("RELATIONS_REDIS_URL", redis_url)
    monkeypatch.setenv("FUZZ_TOKEN", TOKEN)
    # Fuzzed settings of other tests may have made secrets of ordinary words, which would be redacted here.
    monkeypatch.setattr("worker.config.secret._hidden", HiddenValues())
    monkeypatch.setattr(tasks.app.loader, "settings", load_settings(os.environ, tmp_path), raising=False)
    tasks.runtime_of.cache_clear()
    yield tasks.get_runtime()
    tasks.get_runtime().client.close()
    tasks.runtime_of.cache_clear()
    log.set_context()  # that of the last task


def publish(stack: Stack, bodies: Sequence[bytes], **headers: object) -> None:
    """Publish messages for `relations.accept`, whatever is in them."""
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
    dice = random.Random(1)
    deep = [b"[[%b],{},{}]" % (b"[" * levels + b"]" * levels) for levels in DEPTHS]
    odd = [encode(mutate([[GOOD], {}, {"callbacks": None}], dice), dice) for _ in range(60)]
    with running(tmp_path, Shape(accounts=("acme",), parts=("worker",), concurrency=1)) as stack:
        publish(stack, [*SHAPES, *deep, *odd, *(garble(body, dice) for body in odd)])
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
        store = stack.runtime().store
        accepted = wait_until(
            lambda: store.batch_counts("acme", "last").get("accepted"), "the last is not accepted"
        )
        assert accepted == 1
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
def test_accept_keeps_what_it_can_read_whatever_its_arguments(
    runtime: Runtime, args: Any, named: Any, kept: int
) -> None:
    assert tasks.accept.apply(args=args, kwargs=named).successful()
    assert count_accepted(runtime) == kept


@pytest.mark.parametrize("parts", [["text", "why", "a"], ["text", "why", "§"], ["text", "why"], 7, [1, 2, 3]])
def test_named_arguments_like_those_of_a_body_that_cannot_be_decoded_are_kept_as_they_came(
    runtime: Runtime, parts: object
) -> None:
    named = {"relations.undecoded": parts}
    assert tasks.accept.apply(kwargs=named).successful()
    [job] = runtime.queries.find_jobs(UNROUTED, JobFilter(error="unreadable")).entries
    assert json.loads(payload(runtime, job).body) == named


def test_what_stands_beside_such_arguments_is_accepted_or_kept(runtime: Runtime) -> None:
    named = {"relations.undecoded": ["text", "why", "YQ=="]}
    assert tasks.accept.apply(args=(GOOD,), kwargs=named).successful()
    assert tasks.accept.apply(kwargs={**GOOD, **named}).successful()
    assert count_accepted(runtime) == 1
    [job] = runtime.queries.find_jobs("acme", JobFilter(error="unreadable")).entries
    assert json.loads(payload(runtime, job).body)["parentid"] == GOOD["parentid"]


@pytest.mark.parametrize("message_id", ["\ud800", "x" * 100_000, "x" * 199, "a\0b", "a b\n", TOKEN])
def test_a_change_is_accepted_once_whatever_its_message_calls_itself(
    runtime: Runtime, message_id: str
) -> None:
    runtime.settings.account("acme").token.reveal()
    for _ in range(2):
        assert tasks.accept.apply(args=(GOOD, {**GOOD, "childid": 0}), task_id=message_id).successful()
    accepted, kept = runtime.queries.find_jobs("acme", JobFilter()).entries[::-1]
    assert (accepted.state, kept.refusal and kept.refusal[1]) == ("queued", "unreadable")
    for job in (accepted, kept):
        assert len(job.event_id) < 200
        assert TOKEN not in (job.event_id, job.correlation)


def test_messages_without_an_id_are_messages_of_their_own(runtime: Runtime) -> None:
    def accept(*messages: object) -> None:
        accept_messages(runtime.intake(), messages, message_id="", source="celery", correlation="")

    for action in ("create", "delete", "create"):
        accept({**GOOD, "action": action}, 7)
    keep_undecoded(runtime.intake(), b"{", fault="why", message_id="", source="celery")
    asked = [job.action for job in runtime.queries.find_jobs("acme", JobFilter()).entries[::-1]]
    assert asked == ["create", "delete", "create"]
    assert len(runtime.queries.find_jobs(UNROUTED, JobFilter(error="unreadable")).entries) == 4


def test_accept_takes_anything_at_all(runtime: Runtime) -> None:
    dice, expected = random.Random(2), 0
    for _ in range(60):
        changes = [
            dice.choice(NASTY),
            *(
                {**twist, "account": "acme"}
                for twist in (mutate(dice.choice(EXAMPLES), dice),)
                if isinstance(twist, dict)
            ),
        ]
        assert tasks.accept.apply(args=(changes,), task_id=str(uuid4())).successful()
        expected += sum(map(is_change, changes))
    assert count_accepted(runtime) <= expected
    assert expected > 0


def test_what_cannot_be_accepted_is_kept_and_keeps_nothing_else_from_it(runtime: Runtime) -> None:
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
    assert (count_accepted(runtime), runtime.store.counts("acme")["unreadable"]) == (2, 2)
    jobs = runtime.queries.find_jobs("acme", JobFilter(error="unreadable")).entries
    kept = {job.event_id: payload(runtime, job) for job in jobs}
    assert set(kept) == {"task-1:1", "task-1:2"}
    assert json.loads(kept["task-1:2"].body) == message[2]
    assert kept["task-1:2"].faults == ("childid: expected a positive integer or an array of them, got 0",)
    unrouted = runtime.queries.find_jobs(UNROUTED, JobFilter(error="unreadable")).entries
    assert {payload(runtime, job).body: job.event_id for job in unrouted} == {
        json.dumps(message[4]).encode(): "task-1:4",
        b'"text"': "task-1:5",
    }


def test_an_account_that_was_added_is_known_to_the_next_message(runtime: Runtime, tmp_path: Path) -> None:
    """Also to that of a child of a pool which has idled since, and neither flushed nor swept."""
    settings = tmp_path / "relations.toml"
    settings.write_text(settings.read_text() + settings.read_text().replace("acme", "new"))
    tasks.accept.apply(args=({**GOOD, "account": "new"},), task_id="task-1")
    assert runtime.store.counts("new")["accepted"] == 1


def test_a_message_that_failed_as_often_as_it_may_is_kept_for_operators(runtime: Runtime) -> None:
    """Whatever is wrong with it, or with the code: it would come again for ever."""
    messages = [{**GOOD, "event_id": "own"}, 7]
    for _ in range(2):
        tasks.accept.apply(args=(messages,), task_id="task-1", retries=tasks.MAX_REDELIVERIES)
    kept = [
        payload(runtime, job)
        for account in ("acme", UNROUTED)
        for job in runtime.queries.find_jobs(account, JobFilter(error="unreadable")).entries
    ]
    assert [(each.faults, json.loads(each.body)) for each in kept] == [((tasks.POISON,), m) for m in messages]
    assert build_services(runtime).replays.prepare("acme", UNREADABLE, by="ada").eligible == 1


def test_what_was_accepted_before_its_message_was_given_up_is_not_doubled_by_a_replay(
    runtime: Runtime,
) -> None:
    for retries in (0, tasks.MAX_REDELIVERIES):
        tasks.accept.apply(args=(GOOD,), task_id="task-1", retries=retries)
    replays = build_services(runtime).replays
    replay = replays.prepare("acme", UNREADABLE, by="ada")
    replays.start(replay.id, by="ada")
    assert tasks.replay.apply(args=(replay.id,)).successful()
    (new, given_up) = sorted(
        runtime.queries.find_jobs("acme", JobFilter()).entries, key=lambda job: job.accepted_at
    )
    assert (new.event_id, given_up.replayed_by) == ("task-1:0", (new.id,))


def payload(runtime: Runtime, job: JobRecord) -> Payload:
    found = runtime.job_admin.get_payload(job.id)
    assert found is not None
    return found


def test_a_replay_is_run_by_its_task(runtime: Runtime) -> None:
    runtime.intake().reject(
        UnreadableMessage("acme", "celery", "e", ("no",), json.dumps({**GOOD, "parentid": 0}).encode())
    )
    replays = build_services(runtime).replays
    replay = replays.prepare("acme", JobFilter(error="unreadable"), by="ada", correction={"parentid": 5})
    assert tasks.replay.apply(args=(replay.id,)).successful()
    assert runtime.store.counts("acme")["accepted"] == 1  # nobody has started it
    replays.start(replay.id, by="ada")
    for _ in range(2):
        assert tasks.replay.apply(args=(replay.id,)).successful()
    done = runtime.job_admin.get_replay(replay.id)
    assert done is not None
    assert done.back == 1
    assert runtime.store.counts("acme")["backlog"] == 1


def test_a_replay_that_a_full_inbox_stops_is_left_to_the_sweep_and_leaves_no_message_behind(
    runtime: Runtime, tmp_path: Path
) -> None:
    settings = tmp_path / "relations.toml"
    settings.write_text(settings.read_text() + "max_backlog = 1\n")
    tasks.runtime_of.cache_clear()
    runtime = tasks.get_runtime()
    runtime.intake().accept([from_message(GOOD).change])
    kept = json.dumps({**GOOD, "parentid": 0}).encode()
    runtime.intake().reject(UnreadableMessage("acme", "celery", "e", ("no",), kept))
    replays = build_services(runtime).replays
    replay = replays.prepare("acme", JobFilter(error="unreadable"), by="ada", correction={"parentid": 5})
    replays.start(replay.id, by="ada")
    for _ in range(3):
        assert tasks.replay.apply(args=(replay.id,)).successful()
    assert runtime.client.keys("*relations.ops*") == []
    assert runtime.job_admin.stalled_replays("acme", 0.0) == [replay.id]


@pytest.mark.parametrize(
    ("more", "correction"),
    [
        ({"occurred_at": datetime(2026, 11, 21, 2)}, {"occurred_at": "2026-11-21T02:00:00Z"}),
        ({"occurred_at": "yesterday"}, {"occurred_at": ""}),
        ({"eventid": "x"}, {"eventid": ""}),
        ({"event_id": "a\nb"}, {"event_id": "ab"}),
        ({"batch": ["x"], "source": 7}, {"batch": "b", "source": "s"}),
    ],
)
def test_every_fault_of_a_kept_message_can_be_mended(
    runtime: Runtime, more: dict[str, Any], correction: dict[str, str]
) -> None:
    tasks.accept.apply(args=({**GOOD, **more},))
    replays = build_services(runtime).replays
    assert replays.prepare("acme", JobFilter(error="unreadable"), by="ada").eligible == 0
    mended = replays.prepare("acme", JobFilter(error="unreadable"), by="ada", correction=correction)
    assert mended.eligible == 1


def test_a_time_that_was_kept_with_a_blank_is_read(runtime: Runtime) -> None:
    kept = json.dumps({**GOOD, "occurred_at": str(datetime(2026, 11, 21, 2, tzinfo=UTC))}).encode()
    runtime.intake().reject(UnreadableMessage("acme", "celery", "e", ("no",), kept))
    replay = build_services(runtime).replays.prepare("acme", JobFilter(error="unreadable"), by="ada")
    assert replay.eligible == 1


def count_accepted(runtime: Runtime) -> int:
    """Return the number of accepted changes of acme, without unreadable messages, which count as accepted."""
    counts = runtime.store.counts("acme")
    return counts.get("accepted", 0) - counts.get("unreadable", 0)


def is_change(message: object) -> bool:
    """Return whether the message is a change; policy may still refuse it."""
    try:
        return bool(from_message(message).change)
    except InvalidChange:
        return False


def test_a_message_delivered_again_is_the_same_job_also_if_its_event_id_is_null(runtime: Runtime) -> None:
    for message in ({**GOOD, "batch": "one"}, {**GOOD, "batch": "two", "event_id": None, "source": None}):
        for _ in range(2):
            accept_messages(
                runtime.intake(),
                [message],
                message_id=f"task-{message['batch']}",
                source="celery",
                correlation="",
            )
    assert [runtime.store.batch_counts("acme", batch)["accepted"] for batch in ("one", "two")] == [1, 1]


RESENDING = """
import json
from celery.exceptions import Ignore
from worker import tasks
from worker.celery_patches import RESENDS_HEADER
from worker.errors import StoreUnavailable

for resends in (0, 19, 20, 5000):
    headers = {RESENDS_HEADER: resends}
    tasks.accept.push_request(
        id="t1", retries=3, args=[{}], kwargs={}, headers=headers, called_directly=False
    )
    try:
        tasks.resend_later(tasks.accept, StoreUnavailable("Redis is full"))
    except Ignore:
        client = tasks.get_runtime().client
        [text] = client.lrange("relations.intake", 0, -1)
        headers = json.loads(text)["headers"]
        print(headers["id"], headers["retries"], headers[RESENDS_HEADER])
        client.delete("relations.intake")
"""
TIMED_OUT = """
import json
from worker import tasks
from worker.celery_patches import CheckedRequest

tasks.accept.apply_async([{}])
with tasks.app.connection_for_read() as connection:
    message = connection.default_channel.basic_get("relations.intake")
    settle = {"on_ack": message.ack_log_error, "on_reject": message.reject_log_error}
    request = CheckedRequest(message, app=tasks.app, task=tasks.accept, **settle)
    request.on_timeout(True, 1.0)
    request.on_timeout(False, 1.0)
client = tasks.get_runtime().client
texts = client.lrange("relations.intake", 0, -1)
print([json.loads(text)["headers"]["retries"] for text in texts], client.hlen("relations/unacked"))
"""
LOST = """
import json
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from worker import tasks
from worker.celery_patches import CheckedRequest

client = tasks.get_runtime().client


def lose_worker(retries, **others):
    with tasks.app.connection_for_read() as connection:
        tasks.accept.apply_async([{}], retries=retries, connection=connection)
        message = connection.default_channel.basic_get("relations.intake")
        settle = {"on_ack": message.ack_log_error, "on_reject": message.reject_log_error}
        request = CheckedRequest(message, app=tasks.app, task=tasks.accept, **settle)
        tasks.app.conf.update(others)
        try:
            raise WorkerLostError("gone")
        except WorkerLostError:
            request.on_failure(ExceptionInfo())
        texts = client.lrange("relations.intake", 0, -1)
    client.delete("relations.intake")
    return [json.loads(text)["headers"]["retries"] for text in texts]


"""
FAILING = """
import json, logging
from dataclasses import replace
from celery.exceptions import Ignore
from worker import tasks

logging.basicConfig()
settings = tasks.worker_settings()
tasks.app.loader.settings = replace(settings, redis_url="redis://127.0.0.1/none")
for retries in (7, 0, 19, 20, -1, "x"):
    if retries != 7:
        tasks.accept_failure.forget()
    tasks.accept.push_request(id="t1", retries=retries, args=[{}], kwargs={}, called_directly=False)
    try:
        tasks.accept.run({})
    except Ignore:
        pass
tasks.app.loader.settings = settings
texts = tasks.get_runtime().client.lrange("relations.intake", 0, -1)
print([json.loads(text)["headers"]["retries"] for text in reversed(texts)])
"""


def test_a_message_comes_again_of_which_a_process_cannot_accept_anything(
    tmp_path: Path, redis_url: str
) -> None:
    """It counts against the message if others are accepted, also where that header makes no sense."""
    run = run_alone(FAILING, tmp_path, redis_url)
    assert (run.stdout, run.returncode) == ("[7, 1, 20, 21, 1, 1]\n", 0), run.stderr


def test_a_message_whose_task_a_time_limit_of_gevent_ends_comes_again_later(
    tmp_path: Path, redis_url: str
) -> None:
    """Prefork says first that it failed; gevent and eventlet say nothing else."""
    run = run_alone(TIMED_OUT, tmp_path, redis_url)
    assert (run.stdout, run.returncode) == ("[1] 0\n", 0), run.stderr


@pytest.mark.parametrize(
    ("lose", "left"),
    [
        (
            "for retries in (0, 19, 20, 21, -5, 'x', 10**30): print(*lose_worker(retries))",
            [1, 20, 21, 22, 1, 1, 2**31 + 1],
        ),
        ("print(*lose_worker(0, broker_url='redis://127.0.0.1:1/0'))", [0]),
    ],
    ids=["after any number of tries", "where it cannot be sent again"],
)
def test_a_message_whose_process_was_lost_is_never_dropped(
    tmp_path: Path, redis_url: str, lose: str, left: list[int]
) -> None:
    run = run_alone(LOST + lose, tmp_path, redis_url)
    assert run.returncode == 0, run.stderr
    assert [int(line) for line in run.stdout.splitlines()] == left


def test_a_message_that_waits_to_come_again_is_delivered_to_no_other_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two would be sent again: after an hour without the store there were millions."""
    monkeypatch.setenv("T", "t")
    (tmp_path / "relations.toml").write_text(
        '[accounts.acme]\ntoken = "env:T"\nsecret = "env:T"\ntimeout = 1.0\n'
    )
    options = worker_config(load_settings(os.environ, tmp_path))["broker_transport_options"]
    assert options["visibility_timeout"] >= MAX_DELAY + 20.0


def test_waiting_for_the_store_is_no_lost_delivery_and_never_ends(tmp_path: Path, redis_url: str) -> None:
    run = run_alone(RESENDING, tmp_path, redis_url)
    assert run.stdout.splitlines() == [f"t1 3 {resends + 1}" for resends in (0, 19, 20, 5000)], run.stderr


def run_alone(script: str, tmp_path: Path, redis_url: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, because Celery's application is configured once in each."""
    (tmp_path / "relations.toml").write_text('[accounts.acme]\ntoken = "env:T"\nsecret = "env:T"\n')
    env = {
        **os.environ,
        "RELATIONS_CONFIG": str(tmp_path / "relations.toml"),
        "RELATIONS_REDIS_URL": redis_url,
        "T": "t",
    }
    return subprocess.run(
        [sys.executable, "-c", script],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
    )
