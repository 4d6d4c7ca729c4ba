"""A private RabbitMQ node as the broker: workers die, messages get lost, the broker dies.

`ops/rabbitmq.sh install` installs it; without it these tests are skipped.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from ops.dev.processes import Process, free_port
from ops.dev.stack import Stack, running
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
from tests.support.waiting import wait_until

SCRIPT = Path(__file__).parents[2] / "ops" / "rabbitmq.sh"
IS_INSTALLED = subprocess.run([SCRIPT, "there"], check=False).returncode == 0

pytestmark = pytest.mark.skipif(
    not IS_INSTALLED, reason="rabbitmq-server is not installed: ops/rabbitmq.sh install"
)


class Broker:
    """A node that can be killed and restarted with all it had written."""

    def __init__(self, directory: Path) -> None:
        port, *others = (str(free_port()) for _ in range(3))
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        self._command, self._log = (
            [str(SCRIPT), "run", str(directory / "node"), port, *others],
            directory / "rabbitmq.log",
        )
        self.start()

    def start(self) -> None:
        self.process = Process(self._command, log=self._log)
        self.process.wait_until(self._is_up, seconds=60)

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
    wait_until(lambda: crm_links(stack, "nord") >= set(range(100, 120)), "nothing was swept", seconds=60)


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
        lambda: crm_links(stack, "sued") >= set(range(200, 290)),
        "what came while the broker was away is not done",
        seconds=60,
    )
    assert all_succeeded(runtime, [*before, *during, *after])
    assert stack.ended() == []


def test_a_confirmed_message_of_changes_outlives_broker_and_worker(stack: Stack, broker: Broker) -> None:
    stack.processes["worker"].kill()
    with stack.celery() as producer:
        for number in range(300, 320):
            producer.send_task("relations.accept", [message("nord", number)], queue="relations.intake")
    broker.process.kill()
    broker.start()
    stack.replace("worker")
    wait_until(lambda: crm_links(stack, "nord") >= set(range(300, 320)), "a message got lost", seconds=60)
