"""A private RabbitMQ node as the broker: workers die, messages get lost, the broker dies.

`ops/rabbitmq.sh install` installs it; without it these tests are skipped.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from ops.dev.processes import Process, free_port
from ops.dev.stack import Stack, running
from tests.support.celery_messages import REFUSED
from tests.support.cli_runner import make_cli
from tests.support.deploy_work import (
    accept,
    all_succeeded,
    crm_links,
    link_changes,
    make_shape,
    message,
    repeated_creates,
    wait_until_done,
)
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.contract.message import UNROUTED

CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
OURS = r"^(relations\..*|amq\.default)$"  # what a user of least rights may configure, write and read
SCRIPT = Path(__file__).parents[2] / "ops" / "rabbitmq.sh"
IS_INSTALLED = subprocess.run([SCRIPT, "there"], check=False).returncode == 0

pytestmark = pytest.mark.skipif(
    not IS_INSTALLED, reason="rabbitmq-server is not installed: ops/rabbitmq.sh install"
)


class Broker:
    """A node that can be killed and restarted with all it had written."""

    def __init__(self, directory: Path) -> None:
        port, *others = (str(free_port()) for _ in range(3))
        self.address = f"127.0.0.1:{port}"
        self.url = f"amqp://guest:guest@{self.address}//"
        self._environ = {"RABBITMQ_NODENAME": f"relations-{port}@localhost", "HOME": str(directory / "node")}
        self._environ |= {"ERL_EPMD_PORT": others[-1], "PATH": os.environ["PATH"]}
        self._command, self._log = (
            [str(SCRIPT), "run", str(directory / "node"), port, *others],
            directory / "rabbitmq.log",
        )
        self.start()

    def start(self) -> None:
        self.process = Process(self._command, log=self._log)
        self.process.wait_until(self._is_up, seconds=HANGS_AFTER)

    def control(self, *command: str) -> None:
        """Run a command of `rabbitmqctl`."""
        subprocess.run([CONTROL, "--quiet", *command], env=self._environ, check=True, capture_output=True)

    def add_host(self, name: str, *, queues: str, rights: str = ".*", user: str = "guest") -> str:
        """Add a virtual host whose queues are of this kind; return its URL."""
        self.control("add_vhost", name, "--default-queue-type", queues)
        self.grant(name, user, rights)
        return f"amqp://{user}:guest@{self.address}/{name}"

    def grant(self, host: str, user: str, rights: str) -> None:
        """Let the user configure, write and read what has such a name."""
        self.control("set_permissions", "-p", host, user, rights, rights, rights)

    def _is_up(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=1) as connection:
                return bool(connection.connect())
        except OSError:
            return False


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    node = Broker(tmp_path_factory.mktemp("rabbitmq"))
    try:
        yield node
    finally:
        node.process.kill()


@pytest.fixture(scope="module")
def stack(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(
        tmp_path_factory.mktemp("stack"),
        make_shape("nord", "sued", parts=("worker", "beat"), broker=broker.url),
    ) as stack:
        yield stack
        stack.kill()  # its broker ends next, so nothing could end in order


def test_changes_sent_as_messages_are_done_once(stack: Stack) -> None:
    runtime = stack.runtime()
    with stack.celery() as producer:
        for number in range(20):
            producer.send_task("relations.accept", [message("nord", number)], queue="relations.intake")
    receipts = accept(runtime, link_changes("sued", range(20)))
    wait_until_done(stack, runtime, "nord", range(20))
    wait_until_done(stack, runtime, "sued", range(20))
    assert all_succeeded(runtime, receipts)
    assert repeated_creates(stack) == {}


def test_a_message_that_was_lost_is_replaced_by_the_sweep(stack: Stack) -> None:
    runtime = stack.runtime(wakes=False)
    accept(runtime, link_changes("nord", range(100, 120)))
    wait_until(lambda: crm_links(stack, "nord") >= set(range(100, 120)), "nothing was swept")


def test_the_broker_dies_while_changes_come_in_and_no_process_is_restarted(
    stack: Stack, broker: Broker
) -> None:
    runtime, beside = stack.runtime(), stack.runtime(wakes=False)
    before = accept(runtime, link_changes("sued", range(200, 230)))
    broker.process.kill()
    during = accept(beside, link_changes("sued", range(230, 260)))
    broker.start()
    after = accept(stack.runtime(), link_changes("sued", range(260, 290)))
    wait_until(
        lambda: all_succeeded(runtime, [*before, *during, *after]),
        "what came while the broker was away is not done",
    )
    assert crm_links(stack, "sued") >= set(range(200, 290))
    back = runtime.metrics.now()
    wait_until(lambda: runtime.read_health().sweeps.at > back, "beat sends no more sweeps")
    assert stack.ended() == []


def test_a_confirmed_message_of_changes_outlives_broker_and_worker(stack: Stack, broker: Broker) -> None:
    stack.processes["worker"].kill()
    with stack.celery() as producer:
        for number in range(300, 320):
            producer.send_task("relations.accept", [message("nord", number)], queue="relations.intake")
    broker.process.kill()
    broker.start()
    stack.replace("worker")
    wait_until(lambda: crm_links(stack, "nord") >= set(range(300, 320)), "a message got lost")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_wakeups_that_wait_for_their_time_keep_nobody_waiting(
    broker: Broker, tmp_path: Path, kind: str
) -> None:
    url = broker.add_host(kind, queues=kind)
    with running(tmp_path, make_shape("nord", "sued", parts=("worker", "beat"), broker=url)) as stack:
        runtime = stack.runtime()
        with stack.celery() as producer:
            for _ in range(20):  # more than a worker may have in hand
                producer.send_task("relations.flush", ["sued"], queue="relations.flush", countdown=3600)
            producer.send_task("relations.accept", [message("nord", 400)], queue="relations.intake")
        accept(runtime, link_changes("nord", range(401, 410)))
        wait_until_done(stack, runtime, "nord", range(400, 410))
        stack.kill()


def test_a_wakeup_that_makes_no_sense_ends_no_worker(broker: Broker, tmp_path: Path) -> None:
    url = broker.add_host("nonsense", queues="classic")
    with running(tmp_path, make_shape("nord", parts=("worker", "beat"), broker=url)) as stack:
        with stack.celery() as producer:
            for odd in ({"eta": "soon"}, {"eta": "2026-11-30T09:00:00+00:00", "timelimit": ["x", "y"]}):
                producer.send_task("relations.flush", ["nord"], queue="relations.flush", headers=odd)
        runtime, log = stack.runtime(), stack.log("worker")
        accept(runtime, link_changes("nord", range(10)))
        wait_until(lambda: log.read_text().count("message.rejected") >= 2, log.read_text)
        wait_until_done(stack, runtime, "nord", range(10))
        assert stack.ended() == []
        stack.kill()


def test_what_celery_would_drop_is_kept_and_not_in_the_log(stack: Stack) -> None:
    kept = stack.runtime().store.counts
    with stack.celery().connection_for_write() as connection:
        producer = connection.Producer()
        for headers, body in REFUSED:
            as_json = {"content_type": "application/json", "content_encoding": "utf-8"}
            producer.publish(body, routing_key="relations.intake", headers=headers, **as_json)
    wait_until(lambda: kept(UNROUTED).get("unreadable") == len(REFUSED), "not all of it is kept")
    assert "personal" not in stack.log("worker").read_text("utf-8")


def test_a_user_of_least_rights_is_enough_and_a_worker_outlives_that_it_has_none(
    broker: Broker, tmp_path: Path
) -> None:
    broker.control("add_user", "least", "guest")
    url = broker.add_host("rights", queues="classic", user="least", rights=OURS)
    with running(tmp_path, make_shape("nord", parts=("worker", "beat"), broker=url)) as stack:
        runtime = stack.runtime()
        accept(runtime, link_changes("nord", range(10)))
        wait_until_done(stack, runtime, "nord", range(10))
        broker.grant("rights", "least", "^$")
        broker.control("close_all_user_connections", "least", "a test")
        wait_until(lambda: "ACCESS_REFUSED" in stack.log("worker").read_text(), "no refusal")
        accept(stack.runtime(wakes=False), link_changes("nord", range(10, 20)))
        broker.grant("rights", "least", OURS)
        wait_until_done(stack, runtime, "nord", range(20))
        told = [line for line in stack.log("worker").read_text().splitlines() if "broker.lost" in line]
        assert len(told) == 2, told  # that it was closed, and that it is refused
        assert stack.ended() == []
        stack.kill()


def test_a_broker_without_disk_keeps_nobody_waiting_and_work_goes_on_when_it_has_some(
    broker: Broker, tmp_path: Path
) -> None:
    url = broker.add_host("full", queues="classic")
    with running(tmp_path, make_shape("nord", parts=("worker", "beat"), broker=url)) as stack:
        runtime = stack.runtime(background=True)
        broker.control("set_disk_free_limit", "1000000GB")
        accept(runtime, link_changes("nord", range(10)))
        findings = json.loads(make_cli(stack.environ)("doctor", "--no-api", "--json", code=None).stdout)
        [found] = [each for each in findings["findings"] if each["what"] == "workers"]
        assert "RabbitMQ took no message within 10 s" in found["text"]
        assert found["todo"] == "Look at the broker's memory, disk and log."
        broker.control("set_disk_free_limit", "50MB")
        wait_until_done(stack, runtime, "nord", range(10))
        assert stack.ended() == []
        stack.kill()


def test_a_worker_of_a_name_that_the_broker_still_knows_waits_for_it(stack: Stack) -> None:
    first, log = stack.processes["worker"], stack.directory / "second.log"
    os.kill(first.pid, signal.SIGSTOP)  # as one whose machine lost its power
    second = Process(first.command, log=log, env=stack.environ, cwd=stack.directory)
    second.wait_until(lambda: "RESOURCE_LOCKED" in log.read_text(), seconds=HANGS_AFTER)
    first.kill()
    second.wait_until(lambda: "ready." in log.read_text(), seconds=HANGS_AFTER)
    second.kill()
    stack.replace("worker")
