"""A user of Redis with the rights of the reference, and no other, is enough for every process."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ops.dev.redis_server import RedisServer, run_server
from ops.dev.stack import QUICK, Shape, Stack, running
from ops.doctor.rights import HELD, check_store_rights
from tests.support.cli_runner import Cli, make_cli, make_environ, write_settings
from tests.support.clusters import run_command
from tests.support.deploy_work import CHANGE
from tests.support.waiting import wait_until
from worker.redis.client import connect
from worker.redis.rights import KEYLESS, OPTIONAL, SCRIPTS, STORE, acl_rule

DONE_WITHOUT = ("client|setinfo", "config|get")
ROOMS = ("store", "limiter")
SPOKEN = {
    ".lua": re.compile(r"redis\.call\('(\w+)'"),
    ".py": re.compile(r"""(?:\breads\.|\.read\([^"\n]*?,\s*"|\.run\(\s*")([a-z]+|[A-Z]+)\b"""),
}
OUR_OWN = {"keep", "open", "run"}  # two commands of our script, and what sends reads
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with run_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


def limited(server: RedisServer, *rules: str) -> str:
    """Return the URL of a user with these rules."""
    run_command(server, "ACL SETUSER", "app", "reset", "on", ">pw", *rules)
    return server.url.replace("://", "://app:pw@")


def test_they_are_enough_for_interface_worker_beat_and_commands(server: RedisServer, tmp_path: Path) -> None:
    url = limited(server, *acl_rule("relations").split())
    run_command(server, "ACL LOG", "RESET")
    shape = Shape(accounts=("nord",), defaults={**QUICK, "window": 0.1}, store=url, concurrency=1)
    with running(tmp_path / "stack", shape) as stack:
        counts, cli = stack.runtime(wakes=False).store.batch_counts, make_cli(stack.environ)
        send_changes(stack)
        wait_until(lambda: counts("nord", "rights").get("succeeded") == 6, "nothing is sent")
        stack.replace("worker")  # one that was killed leaves what it had taken to the next
        wait_until(lambda: '"worker.started"' in stack.log("worker").read_text("utf-8"), "no worker")
        use_commands(cli)
        assert "rights in" not in cli("doctor", code=None).stdout
        assert not stack.ended()
    refused = {(each["reason"], each["object"]) for each in run_command(server, "ACL LOG")}
    assert refused <= {("command", name) for name in DONE_WITHOUT}


def send_changes(stack: Stack) -> None:
    """Let changes of each way in come."""
    headers = {"Authorization": f"Bearer {stack.key}"}
    changes = [{**CHANGE, "childid": child, "batch": "rights"} for child in range(1, 6)]
    assert stack.http.post(f"{stack.url}/v1/changes", json=changes, headers=headers).is_success
    stack.celery().send_task("relations.accept", [{**CHANGE, "childid": 6, "batch": "rights"}])


def use_commands(cli: Cli) -> None:
    """Look at everything, and act."""
    for command in (
        ("doctor", "--json"),
        ("jobs", "list"),
        ("errors",),
        ("accounts", "list"),
        ("accounts", "pause", "nord"),
        ("accounts", "resume", "nord"),
        ("audit",),
        ("explain", CHANGE["relationtype"], "501", "1", "--account", "nord"),
        ("doctor", "--store", "nord"),
    ):
        result = cli(*map(str, command), code=None)
        assert result.exit_code in (0, 1), (command, result.output)


@pytest.mark.parametrize(
    ("rules", "subject", "message"),
    [
        (("-brpop", "-publish"), "broker", "may not do brpop, publish with relations*"),
        (("-script|load", "-multi"), "broker", "may not do multi, script|load with relations*"),
        (("-hset", "-lrem"), "store", "may not do hset, lrem with relations*"),
        (("resetkeys", "~relations:*"), "broker", "permissions to access"),
        (("resetkeys", "%R~relations*"), "store", "permissions to access"),
        (("-eval",), "store", "permissions to run the 'eval' command"),
        (("resetchannels", "&other*"), "broker", "may not do publish, subscribe with relations*"),
    ],
)
def test_the_doctor_names_what_is_missing(
    server: RedisServer, tmp_path: Path, rules: tuple[str, ...], subject: str, message: str
) -> None:
    url = limited(server, *acl_rule("relations").split(), *rules)
    cli = make_cli(make_environ(write_settings(tmp_path, "http://127.0.0.1:1", "acme"), url))
    findings = json.loads(cli("doctor", "--no-api", "--json", code=1).stdout)["findings"]
    [found] = [each for each in findings if each["what"] == f"rights in the {subject}"]
    assert message in found["text"]
    assert found["todo"] == f"Grant its user: {acl_rule('relations')}"


def test_every_command_of_the_store_and_the_limiter_is_in_the_rule() -> None:
    """A command that only a rare list needs would else be missed."""
    spoken = set[str]()
    for file in (each for room in ROOMS for each in (ROOT / "worker" / room).rglob("*.*")):
        if pattern := SPOKEN.get(file.suffix):
            spoken |= {name.lower() for name in pattern.findall(file.read_text("utf-8"))}
    assert {"hset", "zmscore", "time"} <= spoken
    known = {command.partition("|")[0] for command in (*STORE, *SCRIPTS, *KEYLESS, *OPTIONAL)}
    assert spoken - known - OUR_OWN == set()


def test_the_reference_has_the_rule() -> None:
    assert acl_rule("relations") in (ROOT / "docs/reference/redis.md").read_text("utf-8")


def test_a_server_that_answers_and_holds_writes_is_told_apart_from_one_that_refuses(tmp_path: Path) -> None:
    with run_server(tmp_path / "redis") as server, redis.Redis.from_url(server.url) as client:
        client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        [held] = check_store_rights(connect(server.url, timeout=0.2), "relations")
    assert (held.level, held.advice) == ("fail", HELD)
