"""The receiver of the how-to page, run as it stands: it verifies, and does what it does once per id."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ops.dev.processes import free_port
from tests.support.callback_receiver import NEW, OLD, callback
from tests.support.docs_pages import DOCS, blocks
from tests.support.waiting import wait_until
from worker.callbacks import transport
from worker.config import Secret
from worker.ports.callbacks import BatchCounts, CallbackMessage
from worker.usecases.callbacks import write_body

PAGE = blocks(DOCS / "how-to/callbacks.md")
MESSAGE = CallbackMessage(
    id="acme-1",
    account="acme",
    callback="portal",
    batch="import-7",
    counts=BatchCounts(120, 117, 2, 1),
    made_at=1_796_047_212_000_000,
)


@pytest.fixture
def receiver() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    (program,) = (block.text for block in PAGE if block.language == "python")
    port = free_port()
    environ = {**os.environ, "CALLBACK_SECRET": OLD, "PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:

        def is_up() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        wait_until(is_up, "the receiver does not start")
        yield f"http://127.0.0.1:{port}/", process
        process.kill()


def test_the_receiver_of_the_page_takes_each_message_once_and_no_forged_one(
    receiver: tuple[str, "subprocess.Popen[str]"],
) -> None:
    url, process = receiver
    body = write_body(MESSAGE, "https://relations.example")

    def send(message_id: str, *secrets: str) -> int:
        portal = callback(url, secrets=tuple(map(Secret, secrets)))
        return transport.send(portal, message_id=message_id, body=body, now=time.time()).status

    assert send("acme-1", NEW) == 401
    assert [send("acme-1", OLD), send("acme-1", NEW, OLD), send("acme-2", OLD)] == [204] * 3
    process.kill()
    assert process.stdout
    assert process.stdout.read().splitlines() == ["import-7: 117 of 120 done, 1 failed"] * 2


def test_the_message_of_the_page_is_one_as_it_is_sent() -> None:
    (shown,) = (block.text for block in PAGE if '"batch.finished"' in block.text and block.language == "json")
    assert json.loads(shown)["data"] == json.loads(write_body(MESSAGE, "https://relations.example"))["data"]
