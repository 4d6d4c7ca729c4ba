"""`docker-compose.yml` is a Compose file, and the services' commands work outside of containers, too."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from ruamel.yaml import YAML

from ops.dev.processes import Process, children, free_port
from ops.dev.redis_server import find_binary
from tests.support.waiting import HANGS_AFTER
from worker.config import load_settings

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "ops/docker/demo"
FILE = ROOT / "docker-compose.yml"
BIN = Path(sys.executable).parent
DEMO_KEY = "demo-key-that-opens-nothing-but-this-machine"  # which the how-to names
GRACE = 60.0  # seconds; what the file grants at most


def services() -> dict[str, Any]:
    """Return the services, with the defaults of variables put in."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text("utf-8"))
    found: dict[str, Any] = YAML(typ="safe").load(text)["services"]
    return found


SERVICES = services()


class Host:
    """A machine on which the services run as the file says; ports and `/tmp` are its own."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.folder, self.running = folder, running
        self.ports = {"6379": free_port(), "8080": free_port(), "8090": free_port()}
        self.env = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOSTNAME": socket.gethostname(),
            "RELATIONS_CONFIG": str(folder / "relations.toml"),
            "RELATIONS_REDIS_URL": f"redis://127.0.0.1:{self.ports['6379']}/0",
            "RELATIONS_API_URL": f"http://127.0.0.1:{self.ports['8090']}/api/stable/api.php",
        }
        for name, length in (("acme_token", 32), ("acme_secret", 64)):
            (folder / name).write_text("x" * length)
        sample = (ROOT / "ops/docker/relations.toml").read_text("utf-8").replace('"observe"', '"write"')
        (folder / "relations.toml").write_text(sample.replace("/run/secrets", str(folder)))

    def localize(self, text: str) -> str:
        """Return a command as it is on this host."""
        for port, own in self.ports.items():
            text = text.replace(port, str(own))
        return text.replace("/tmp/", f"{self.folder}/").replace("$$", "$")

    def start(self, name: str, *, within: Sequence[str] = ()) -> Process:
        """Run the service's command, within another one that runs what it is given."""
        words = shlex.split(self.localize(SERVICES[name]["command"]))
        if name == "redis":
            words = [find_binary(), *words[1:], "--port", str(self.ports["6379"]), "--dir", str(self.folder)]
        elif name == "api":
            words += ["--port", str(self.ports["8080"])]
        words[0] = str(BIN / words[0]) if (BIN / words[0]).exists() else words[0]
        return self.running.enter_context(
            Process([*within, *words], log=self.folder / f"{name}.log", env=self.env, cwd=self.folder)
        )

    def is_healthy(self, name: str) -> bool:
        """Return what the service's health check reports."""
        kind, *words = SERVICES[name]["healthcheck"]["test"]
        command = [self.localize(word) for word in words]
        command = ["sh", "-c", command[0]] if kind == "CMD-SHELL" else [str(BIN / command[0]), *command[1:]]
        # Docker gives every container the proxy of its own settings.
        env = {**os.environ, **self.env, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        run = subprocess.run(
            command, env=env, cwd=self.folder, capture_output=True, timeout=HANGS_AFTER, check=False
        )
        return run.returncode == 0

    def relations(self, *words: str) -> str:
        """Return what a command of ours prints."""
        command = [str(BIN / "relations"), *words]
        run = subprocess.run(
            command,
            env={**os.environ, **self.env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=HANGS_AFTER,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with ExitStack() as running:
        yield Host(tmp_path, running)


def test_the_file_is_as_the_compose_specification_wants_it() -> None:
    check = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    ended = subprocess.run(check, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_part_of_ours_runs_without_rights_on_a_file_system_that_it_cannot_write() -> None:
    ours = {name: service for name, service in SERVICES.items() if service["image"] == "onoffice-relations"}
    assert set(ours) == {"worker", "beat", "api", "simulator"}
    for service in ours.values():
        assert (service["read_only"], service["cap_drop"], service["restart"]) == (
            True,
            ["ALL"],
            "unless-stopped",
        )
    assert re.search(r"^USER 10001:10001$", (ROOT / "ops/docker/Dockerfile").read_text("utf-8"), re.MULTILINE)


def test_what_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            assert not mount.startswith("./") or (ROOT / mount.partition(":")[0]).exists(), mount


def test_the_commands_of_all_services_make_a_system_that_works_and_ends_cleanly(host: Host) -> None:
    redis = host.start("redis")
    client = Redis.from_url(host.env["RELATIONS_REDIS_URL"])
    redis.wait_until(lambda: _answers(client))
    policy = {**client.config_get("maxmemory*"), **client.config_get("append*")}
    assert (policy["maxmemory-policy"], policy["appendonly"], policy["appendfsync"]) == (
        "noeviction",
        "yes",
        "everysec",
    )
    parts = {name: host.start(name) for name in ("simulator", "worker", "beat", "api")}
    for name in ("simulator", "api", "worker"):
        parts[name].wait_until(lambda name=name: host.is_healthy(name), seconds=HANGS_AFTER)
    job = host.relations("send", "create", "estate:address:buyer", "501", "9001").split()[0]
    host.relations("jobs", "watch", job, "--timeout", "30")
    assert "fail" not in host.relations("doctor")
    ended = {name: part.stop(seconds=GRACE) for name, part in reversed(parts.items())}
    assert ended == {**dict.fromkeys(parts, 0), "simulator": -signal.SIGTERM}  # which keeps nothing


FIRST = ("unshare", "--pid", "--fork", "--kill-child")  # the first process of its own, as in a container


def _may_be_first() -> bool:
    try:
        return subprocess.run([*FIRST, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not _may_be_first(), reason="this user may not make a namespace of processes")
def test_a_part_that_is_the_first_process_of_its_container_ends_at_sigterm(host: Host) -> None:
    redis = host.start("redis")
    client = Redis.from_url(host.env["RELATIONS_REDIS_URL"])
    redis.wait_until(lambda: _answers(client))
    parts = {name: host.start(name, within=FIRST) for name in ("worker", "beat", "api")}
    for name in ("api", "worker"):
        parts[name].wait_until(lambda name=name: host.is_healthy(name), seconds=HANGS_AFTER)
    ended = {}
    for name, part in parts.items():
        [first] = children(part.pid)
        os.kill(first, signal.SIGTERM)
        ended[name] = part.wait(seconds=GRACE)
    assert ended == dict.fromkeys(parts, 0)


def test_the_demo_beside_it_has_all_that_it_names(tmp_path: Path) -> None:
    values = dict(
        line.split("=", 1)
        for line in (DEMO / ".env").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert all(f"${{{name}" in FILE.read_text("utf-8") for name in values if name != "COMPOSE_PROFILES")
    assert all((ROOT / value).is_file() for name, value in values.items() if name.endswith("_FILE"))
    assert values["COMPOSE_PROFILES"] in SERVICES["simulator"]["profiles"]
    text = (DEMO / "relations.toml").read_text("utf-8").replace("/run/secrets", str(DEMO))
    (tmp_path / "relations.toml").write_text(text)
    settings = load_settings({}, tmp_path)
    assert (settings.accounts["acme"].mode, settings.warnings) == ("write", ())
    assert settings.keys["demo"].sha256 == sha256(DEMO_KEY.encode()).hexdigest()


def _answers(client: Redis) -> bool:
    with suppress(RedisError):
        return bool(client.ping())
    return False
