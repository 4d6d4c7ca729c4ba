"""`relations dev`: the stack comes up, says how to use it, and ends when it is told to, or when a part of it cannot be kept running."""

import os
import re
import signal
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.support.started import Process, line_of, started

RUN = "import sys; from ops.dev.local import run; sys.exit(run(port=0, simulator_port=0))"


@pytest.fixture
def dev() -> Iterator[tuple[Process, str]]:
    """A running stack, and all it said until it was ready."""
    with started([sys.executable, "-c", RUN]) as made:
        yield made


def test_it_tells_where_everything_is_and_ends_with_0_when_asked_to(dev: tuple[Process, str]) -> None:
    process, said = dev
    url = re.search(r"HTTP intake +(http://\S+)", said)
    key = re.search(r"Key +(\S+)", said)
    assert url
    assert key
    change = {
        "account": "nord",
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": 501,
        "childid": 9001,
    }
    answer = httpx.post(f"{url[1]}/v1/changes", json=change, headers={"Authorization": f"Bearer {key[1]}"})
    assert answer.status_code == 202
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_it_starts_a_part_again_that_died_and_ends_with_1_when_that_is_no_use(
    dev: tuple[Process, str],
) -> None:
    process, said = dev
    pids = dict(re.findall(r"(simulator|beat) ([0-9]+)", said))
    os.kill(int(pids["beat"]), signal.SIGKILL)
    assert "beat ended" in line_of(process)
    os.kill(int(pids["simulator"]), signal.SIGKILL)
    assert process.wait(20) == 1
    assert process.stderr
    assert "simulator ended" in process.stderr.read()
