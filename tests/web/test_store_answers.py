"""Whatever the store answers, the client is told 503 and why; no command ends in a traceback."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
