"""`relations dev`: it comes up, prints how to use it, and ends at a signal or with a part that is lost."""

import os
import re
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from tests.support.started import WITH_SIGINT_IGNORED, Process, line_of, started

RUN = "import sys; from ops.dev.local import run; sys.exit(run(port=0, simulator_port=0))"


@pytest.fixture
def dev() -> Iterator[tuple[Process, str]]:
    """Start a stack as a script does in the background; yield it and what it printed until it was ready."""
    with started([*WITH_SIGINT_IGNORED, sys.executable, "-c", RUN]) as process_and_output:
        yield process_and_output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_where_everything_is_and_ends_with_0_at_a_signal(
    dev: tuple[Process, str], number: int
) -> None:
    process, output = dev
    url = re.search(r"HTTP intake +(http://\S+)", output)
    key = re.search(r"Key +(\S+)", output)
    shell = re.search(r"\. (\S+env\.sh)", output)
    assert url
    assert key
    assert shell
    assert stat.S_IMODE(os.stat(shell[1]).st_mode) == 0o600
    known = dict(re.findall(r"export (\w+)=(.*)", Path(shell[1]).read_text()))
    assert known["RELATIONS_KEY"] == key[1]
    password = known["RELATIONS_REDIS_URL"].split("@")[0].removeprefix("redis://:")
    assert password not in output
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(known["RELATIONS_REDIS_URL"].replace(f":{password}@", "")).ping()
    change = {
        "account": "nord",
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": 501,
        "childid": 9001,
    }
    response = httpx.post(f"{url[1]}/v1/changes", json=change, headers={"Authorization": f"Bearer {key[1]}"})
    assert response.status_code == 202
    process.send_signal(number)
    assert process.wait(20) == 0


def test_it_restarts_a_part_that_died_and_ends_with_1_when_a_part_cannot_be_restarted(
    dev: tuple[Process, str],
) -> None:
    process, output = dev
    pids = dict(re.findall(r"(simulator|beat) ([0-9]+)", output))
    os.kill(int(pids["beat"]), signal.SIGKILL)
    assert "beat ended" in line_of(process)
    os.kill(int(pids["simulator"]), signal.SIGKILL)
    assert process.wait(20) == 1
    assert process.stderr
    assert "simulator ended" in process.stderr.read()
