"""A hosted server without commands that are not ours is enough; without one of ours, the doctor names it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.dev.processes import free_port
from ops.dev.redis_server import RedisServer, find_binary, start_server
from ops.dev.stack import QUICK, Shape, running
from ops.doctor.server import check_role
from tests.support.certificates import make_certificate
from tests.support.cli_runner import make_cli, make_environ, write_settings
from tests.support.clusters import run_cluster
from tests.support.deploy_work import CHANGE
from tests.support.error_replies import CommandEnds, ErrorReplies
from tests.support.forwarding import Forwarder
from tests.support.waiting import wait_until

NOT_OURS = ("ACL", "CLIENT", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "KEYS", "MEMORY", "MIGRATE", "SLOWLOG")
DONE_WITHOUT = ("SELECT", "PUBLISH", "SUBSCRIBE", "PSUBSCRIBE", "WAIT")


@contextmanager
def server_without(folder: Path, *names: str) -> Iterator[RedisServer]:
    """Start a server that has none of these commands."""
    folder.mkdir()
    options = [option for name in names for option in ("--rename-command", name, "")]
    with start_server(
        find_binary(), folder, persist="no", ports=[free_port()], options=tuple(options)
    ) as server:
        yield server


def test_changes_are_worked_and_looked_at_without_what_hosted_servers_forbid(tmp_path: Path) -> None:
    with server_without(tmp_path / "redis", *NOT_OURS, *DONE_WITHOUT) as server:
        shape = Shape(accounts=("nord",), defaults={**QUICK, "window": 0.1}, store=server.url, concurrency=1)
        with running(tmp_path / "stack", shape) as stack:
            headers = {"Authorization": f"Bearer {stack.key}"}
            change = {**CHANGE, "batch": "hosted"}
            assert stack.http.post(f"{stack.url}/v1/changes", json=change, headers=headers).status_code == 202
            counts = stack.runtime(wakes=False).store.batch_counts
            wait_until(lambda: counts("nord", "hosted").get("succeeded") == 1, "it is not sent")
            assert stack.http.get(f"{stack.url}/readyz").status_code == 200
            findings = json.loads(make_cli(stack.environ)("doctor", "--json", code=None).stdout)["findings"]
            [found] = [each for each in findings if each["what"] == "rights in the broker"]
            assert "the server has no publish, subscribe, or" in found["text"]
            assert not [each for each in findings if each["what"] == "rights in the store"]
            assert not stack.ended()


@pytest.mark.parametrize(
    ("lacking", "subject", "message"),
    [
        (("SCRIPT",), "rights in the broker", "the server has no script|exists, script|load, or"),
        (("ZMSCORE", "LPOS"), "rights in the store", "the server has no lpos, zmscore, or"),
        (("EVAL",), "rights in the store", "unknown command 'EVAL'"),
        (("TIME",), "redis", "refuses what is asked: Redis cannot be used: unknown command 'TIME'"),
    ],
)
def test_the_doctor_names_what_a_server_does_not_have(
    tmp_path: Path, lacking: tuple[str, ...], subject: str, message: str
) -> None:
    with server_without(tmp_path / "redis", *lacking) as server:
        cli = make_cli(make_environ(write_settings(tmp_path, "http://127.0.0.1:1", "acme"), server.url))
        findings = json.loads(cli("doctor", "--no-api", "--json", code=1).stdout)["findings"]
        [found] = [each for each in findings if each["what"] == subject and each["level"] == "fail"]
        assert message in found["text"]
        assert found["todo"].startswith("Use Redis or Valkey 7.0 or newer.")


@pytest.mark.parametrize(
    ("error", "command", "subject"),
    [
        ("ERR unknown command 'HELLO', with args beginning with: '3'", b"HELLO", "redis"),
        (
            "ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'",
            b"EVAL",
            "rights in the store",
        ),
    ],
)
def test_what_is_older_than_redis_7_or_only_like_it_is_told(
    tmp_path: Path, redis_url: str, error: str, command: bytes, subject: str
) -> None:
    with ErrorReplies(RedisServer(redis_url)) as replies:
        replies.answer(error, lambda asked: asked[0].upper() == command)
        cli = make_cli(make_environ(write_settings(tmp_path, "http://127.0.0.1:1", "acme"), replies.url))
        findings = json.loads(cli("doctor", "--no-api", "--json", code=1).stdout)["findings"]
        [found] = [each for each in findings if each["what"] == subject and each["level"] == "fail"]
        assert "it is older than Redis" in found["text"]
        assert found["todo"] == "Use Redis or Valkey 7.0 or newer."


def diagnose(url: str, folder: Path) -> list[dict[str, str]]:
    """Return what the doctor finds with a Redis at this URL."""
    cli = make_cli(make_environ(write_settings(folder, "http://127.0.0.1:1", "acme"), url))
    found: list[dict[str, str]] = json.loads(cli("doctor", "--no-api", "--json", code=1).stdout)["findings"]
    return found


def failures(url: str, folder: Path) -> dict[str, tuple[str, str]]:
    """Return what the doctor says failed with a Redis at this URL, and its advice."""
    found = diagnose(url, folder)
    return {each["what"]: (each["text"], each["todo"]) for each in found if each["level"] == "fail"}


def test_a_proxy_that_knows_too_few_commands_is_told(tmp_path: Path, redis_url: str) -> None:
    with CommandEnds(RedisServer(redis_url)) as proxy:
        proxy.answer("", lambda asked: asked[0].upper() in (b"HELLO", b"CLIENT", b"INFO"))
        found = failures(proxy.url, tmp_path)
    for part, variable in (("redis", "RELATIONS_REDIS_URL"), ("broker", "RELATIONS_BROKER_URL")):
        text, todo = found[part]
        assert "cannot be spoken to" in text
        assert "or be a proxy that knows too few commands, as twemproxy" in text
        assert todo == f"Correct {variable}, or the server, as is said in brackets."


def test_a_certificate_of_the_servers_own_as_heroku_has_it_is_told_with_what_to_write(
    tmp_path: Path, redis_url: str
) -> None:
    certificate = tmp_path / "own.pem"
    certificate.write_bytes(make_certificate("localhost", valid_days=(-1, 1)))
    with Forwarder(RedisServer(redis_url), certificate=certificate) as name:
        strict = f"rediss://localhost:{name.port}/0"
        text, todo = failures(strict, tmp_path)["redis"]
        assert "cannot be spoken to" in text
        assert "name the authority that signed its certificate, a Redis's by ssl_ca_certs" in text
        assert todo == "Correct RELATIONS_REDIS_URL, or the server, as is said in brackets."
        assert "redis" not in failures(f"{strict}?ssl_cert_reqs=none", tmp_path)


def test_a_cluster_of_one_node_is_told_though_it_has_every_account(tmp_path: Path) -> None:
    with run_cluster(tmp_path / "cluster", nodes=1) as cluster:
        plain = cluster.nodes[0].url
        text, todo = failures(plain, tmp_path)["redis"]
        assert "is a node of a cluster" in text
        assert todo == "Write redis+cluster:// instead of redis:// in RELATIONS_REDIS_URL."
        [found] = [each for each in diagnose(plain, tmp_path) if each["what"] == "workers"]
        assert (
            "it is a cluster, which can be no broker; name another by RELATIONS_BROKER_URL" in found["text"]
        )


@pytest.mark.parametrize("told", [{"redis_mode": "cluster"}, {"server_mode": "cluster"}])
@pytest.mark.parametrize(("scheme", "failed"), [("rediss", 1), ("rediss+cluster", 0), ("redis+cluster", 0)])
def test_a_cluster_is_no_finding_where_the_url_says_so(
    told: dict[str, str], scheme: str, failed: int
) -> None:
    assert len(list(check_role({**told, "cluster_enabled": 1}, f"{scheme}://here"))) == failed
