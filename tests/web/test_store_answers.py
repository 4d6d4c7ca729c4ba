"""Whatever the store answers, the client is told 503 and why; no command ends in a traceback."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import redis

from ops.dev.redis_server import RedisServer, find_binary, free_port, start_server
from tests.support.cli_runner import make_cli, make_environ, write_settings
from tests.support.clusters import run_command
from tests.support.http_front import BUYER, problem, running
from tests.support.waiting import wait_until

Prepare = Callable[[RedisServer], str]


def make_replica(server: RedisServer) -> str:
    run_command(server, "REPLICAOF", "127.0.0.1", free_port())
    return server.url


def ask_for_absent_database(server: RedisServer) -> str:
    return server.url.replace("/0", "/99")


def limit_user(server: RedisServer) -> str:
    run_command(server, "ACL SETUSER", "app", "on", ">pw", "~other*", "+@all")
    return server.url.replace("://", "://app:pw@")


def forbid_scripts(server: RedisServer) -> str:
    run_command(
        server, "ACL SETUSER", "app", "on", ">pw", "~*", "+@all", "-evalsha", "-eval", "-info", "-config"
    )
    return server.url.replace("://", "://app:pw@")


def give_wrong_password(server: RedisServer) -> str:
    return server.url.replace("://", "://app:pw@")


def leave_room_for_nobody(server: RedisServer) -> str:
    run_command(server, "CONFIG SET", "maxmemory", 1)
    return server.url


def put_another_type(server: RedisServer) -> str:
    for name in ("inbox", "counts", "jobs", "failed", "due"):
        run_command(server, "SET", f"relations:{{acme}}:{name}", "?")
    return server.url


def run_endless_script(server: RedisServer) -> str:
    run_command(server, "CONFIG SET", "lua-time-limit", 1)

    def run() -> None:
        with redis.Redis.from_url(server.url) as client, suppress(redis.RedisError):
            client.eval("while true do end", 0)

    threading.Thread(target=run, daemon=True).start()
    wait_until(lambda: is_busy(server), "the script does not run")
    return server.url


def is_busy(server: RedisServer) -> bool:
    try:
        run_command(server, "GET", "x")
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


CASES = [
    (make_replica, "it is a replica"),
    (ask_for_absent_database, "it has no such database"),
    (limit_user, "its user lacks a right"),
    (forbid_scripts, "its user lacks a right"),
    (give_wrong_password, "user and password in the URL"),
    (leave_room_for_nobody, "used memory > 'maxmemory'"),
    (put_another_type, "WRONGTYPE"),
    (run_endless_script, "a script runs too long"),
]


def lose_its_disk(server: RedisServer) -> None:
    folder = Path(run_command(server, "CONFIG GET", "dir")["dir"])
    run_command(server, "CONFIG SET", "save", "3600 1")
    shutil.rmtree(folder)
    run_command(server, "BGSAVE")
    wait_until(
        lambda: run_command(server, "INFO", "persistence")["rdb_last_bgsave_status"] == "err", "it saves"
    )


REFUSALS: dict[str, tuple[Callable[[RedisServer], object], tuple[str, ...]]] = {
    "too few replicas keep up": (
        lambda server: run_command(server, "CONFIG SET", "min-replicas-to-write", 1),
        ("CONFIG SET", "min-replicas-to-write", "0"),
    ),
    "it cannot write to its disk": (lose_its_disk, ("CONFIG SET", "save", "")),
    "it is a replica": (make_replica, ("REPLICAOF", "NO", "ONE")),
    "it is full": (leave_room_for_nobody, ("CONFIG SET", "maxmemory", "0")),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_who_can_accept_nothing_is_not_ready_and_says_why_until_it_is_over(
    reason: str, tmp_path: Path
) -> None:
    refuse, recover = REFUSALS[reason]
    with server_in(tmp_path / "redis") as server, running(tmp_path, server.url) as front:
        ready, alert = f"{front.url}/readyz", 'relations_trouble{account="",severity="page",trouble="%s"} 1.0'
        assert httpx.get(ready).status_code == 200
        before = run_command(server, "INFO", "persistence")["rdb_changes_since_last_save"]
        assert [httpx.get(ready).status_code for _ in range(3)] == [200] * 3
        assert run_command(server, "INFO", "persistence")["rdb_changes_since_last_save"] == before
        refuse(server)
        assert reason in problem(httpx.get(ready), 503)["detail"]
        assert reason in problem(front.client().post("/v1/changes", json=BUYER), 503)["detail"]
        metrics = httpx.get(f"{front.url}/metrics").text
        assert alert % "store_refuses" in metrics
        assert "relations_store_up 1.0" in metrics
        findings = front.client("admin").get("/v1/health").json()["findings"]
        assert any(reason in finding["text"] for finding in findings)
        run_command(server, *recover)
        wait_until(lambda: httpx.get(ready).status_code == 200, "it is not ready again")
        assert front.client().post("/v1/changes", json=BUYER).status_code == 202


@contextmanager
def server_in(folder: Path, *options: str) -> Iterator[RedisServer]:
    folder.mkdir()
    ports = (free_port() for _ in range(5))
    with start_server(find_binary(), folder, persist="no", ports=ports, options=options) as server:
        yield server


@pytest.mark.parametrize(("prepare", "reason"), CASES, ids=[case[0].__name__ for case in CASES])
def test_every_answer_of_the_store_is_told_with_its_reason(
    prepare: Prepare, reason: str, tmp_path: Path
) -> None:
    with server_in(tmp_path / "redis") as server:
        url = prepare(server)
        with running(tmp_path, url) as front:
            answer = front.client().post("/v1/changes", json=BUYER)
            assert reason in problem(answer, 503)["detail"]
            for path in ("/v1/jobs?account=acme", "/v1/errors?account=acme", "/metrics", "/readyz"):
                assert front.client("admin").get(path).status_code in (200, 503), path
            assert "request.failed" not in [event for event, _ in front.events]
        cli = make_cli(make_environ(write_settings(tmp_path, "http://127.0.0.1:1", "acme"), url))
        for command in (
            ("jobs", "list"),
            ("errors",),
            ("accounts", "list"),
            ("send", "create", "estate:address:buyer", "1", "2"),
        ):
            result = cli(*command, code=None)
            assert "Traceback" not in result.output, command
        doctor = cli("doctor", code=1).stdout
        assert "credentials acme" in doctor, "the doctor goes on to the end"
        with suppress(redis.RedisError):
            run_command(server, "SCRIPT", "KILL")
