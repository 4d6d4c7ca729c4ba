"""`relations dev`: the stack comes up, says how to use it, and ends when it is told to, or when a part of it cannot be kept running."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest

RUN = "import sys; from ops.dev import run; sys.exit(run(port=0, simulator_port=0))"
READY = "Ctrl-C stops everything."


@pytest.fixture
def dev() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running stack, and all it said until it was ready."""
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(40, process.kill)
        watchdog.start()
        try:
            yield process, "".join(iter(lambda: line_of(process), READY + "\n"))
        finally:
            watchdog.cancel()
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return line


def test_it_tells_where_everything_is_and_ends_with_0_when_asked_to(dev: tuple[subprocess.Popen[str], str]) -> None:
    process, said = dev
    url = re.search(r"HTTP intake +(http://\S+)", said)
    key = re.search(r"Key +(\S+)", said)
    assert url
    assert key
    change = {"account": "nord", "action": "create", "relationtype": "estate:address:buyer", "parentid": 501, "childid": 9001}
    answer = httpx.post(f"{url[1]}/v1/changes", json=change, headers={"Authorization": f"Bearer {key[1]}"})
    assert answer.status_code == 202
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_it_starts_a_part_again_that_died_and_ends_with_1_when_that_is_no_use(dev: tuple[subprocess.Popen[str], str]) -> None:
    process, said = dev
    pids = dict(re.findall(r"(simulator|beat) ([0-9]+)", said))
    os.kill(int(pids["beat"]), signal.SIGKILL)
    assert "beat ended" in line_of(process)
    os.kill(int(pids["simulator"]), signal.SIGKILL)
    assert process.wait(20) == 1
    assert process.stderr
    assert "simulator ended" in process.stderr.read()
