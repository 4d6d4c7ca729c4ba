"""`relations dev`: it comes up, says what happens, ends at a signal, and goes on where it ended."""

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.support.started import WITH_SIGINT_IGNORED, Process, line_of, started
from tests.support.waiting import HANGS_AFTER

RUN = (
    "import sys; from pathlib import Path; from ops.dev.local import run; "
    "sys.exit(run(port=0, simulator_port=0, directory=Path(sys.argv[1])))"
)
CHANGE = {"account": "acme", "action": "create", "relationtype": "estate:address:buyer", "parentid": 501}


def command(directory: Path) -> list[str]:
    """Return what starts a stack as a script does in the background."""
    return [*WITH_SIGINT_IGNORED, sys.executable, "-c", RUN, str(directory)]


def read_environment(directory: Path) -> dict[str, str]:
    return dict(re.findall(r"^export (\w+)=(.*)$", (directory / "env.sh").read_text(), re.MULTILINE))


def send(env: dict[str, str], **more: Any) -> str:
    headers = {"Authorization": f"Bearer {env['KEY']}"}
    response = httpx.post(f"{env['URL']}/v1/changes", json={**CHANGE, **more}, headers=headers)
    assert response.status_code == 202
    job: str = response.json()["jobs"][0]["id"]
    return job


def wait_for(process: Process, *wanted: str) -> str:
    """Return the first line that has all of these texts."""
    return next(line for line in iter(lambda: line_of(process), "") if all(text in line for text in wanted))


def crm_children(env: dict[str, str]) -> set[int]:
    state = httpx.get(f"{env['SIMULATOR']}/_sim/state", params={"account": "acme"}).json()
    return {edge["childid"] for edge in state["relations"]}


def test_it_says_what_happens_ends_with_0_at_either_signal_and_the_next_start_goes_on_with_everything(
    tmp_path: Path,
) -> None:
    with started(command(tmp_path)) as (process, output):
        env, pids = read_environment(tmp_path), dict(re.findall(r"(simulator|beat) ([0-9]+)", output))
        check_places(tmp_path, env, output)
        done, failed = send(env, childid=9001, event_id="Erika"), send(env, childid=404)
        lines = [wait_for(process, done, "in"), wait_for(process, failed, "failed", "80 Unknown record")]
        assert not any("Erika" in line for line in lines)
        httpx.post(f"{env['URL']}/webhooks/immo", content=b"{}")
        wait_for(process, "/webhooks/immo", "refused (Unauthorized)")
        for part in ("simulator", "beat"):
            os.kill(int(pids[part]), signal.SIGKILL)
            wait_for(process, f"{part} ended", "starting it again")
        second = subprocess.run(
            command(tmp_path), capture_output=True, text=True, timeout=HANGS_AFTER, check=False
        )
        assert (second.returncode, second.stderr.count("\n")) == (2, 1)
        assert f"{tmp_path} is in use by process {process.pid}" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANGS_AFTER) == 0
    with started(command(tmp_path)) as (process, _):
        again = read_environment(tmp_path)
        assert (again["URL"], again["SIMULATOR"]) == (env["URL"], env["SIMULATOR"])
        assert again["RELATIONS_REDIS_URL"].split("@")[1] == env["RELATIONS_REDIS_URL"].split("@")[1]
        env = again  # with a key and a password of its own
        assert crm_children(env) == {9001}
        httpx.post(f"{env['SIMULATOR']}/_sim/seed", json={"account": "acme", "records": {}})
        with httpx.Client(base_url=env["URL"], headers={"Authorization": f"Bearer {env['KEY']}"}) as http:
            replay = http.post("/v1/replays", json={"account": "acme", "jobs": [failed]}).json()
            http.post(f"/v1/replays/{replay['id']}/run")
        wait_for(process, failed, "succeeded")
        assert crm_children(env) == {9001, 404}
        process.send_signal(signal.SIGINT)
        assert process.wait(HANGS_AFTER) == 0


def check_places(directory: Path, env: dict[str, str], output: str) -> None:
    """Check that it prints where everything is, and shows nobody the password of its Redis."""
    for name in ("URL", "KEY", "SIMULATOR"):
        assert env[name] in output
    for file in ("env.sh", "crm.json"):
        assert stat.S_IMODE((directory / file).stat().st_mode) == 0o600
    password = env["RELATIONS_REDIS_URL"].split("@")[0].removeprefix("redis://:")
    assert password not in output
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(env["RELATIONS_REDIS_URL"].replace(f":{password}@", "")).ping()


def test_it_ends_though_ctrl_c_comes_where_python_drops_exceptions(tmp_path: Path) -> None:
    run = (
        "import os, signal\n"
        "from ops.dev import local\n"
        "class Finalized:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "class Interrupted(local.Supervisor):\n"
        "    def tend(self):\n"
        "        Finalized()\n"
        "local.Supervisor = Interrupted\n"
    )
    with started([sys.executable, "-c", run + RUN, str(tmp_path)]) as (process, _):
        assert process.wait(HANGS_AFTER) == 0
        assert "KeyboardInterrupt" in (process.stderr.read() if process.stderr else "")
