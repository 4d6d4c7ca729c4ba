"""The whole system as real processes in one directory: Redis, simulator, Celery worker and beat, HTTP intake.

For the demo, `relations dev`, benches and process tests, not for production. Nothing of it outlives the
process that started it.
"""

import json
import os
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from secrets import token_urlsafe
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx
from celery import Celery

from ops.dev.processes import Process, free_port
from ops.dev.redis_server import Persist, run_server
from worker.background import Wake, WakeupQueue
from worker.config import Settings, load_settings, mask_url
from worker.wakeups import TaskSender
from worker.wiring import Runtime, connect_metrics

Part = Literal["worker", "beat", "api"]

PARTS: Final[tuple[Part, ...]] = ("worker", "beat", "api")
START_TIMEOUT: Final = 30.0  # seconds a part may take to come up
STOP_TIMEOUT: Final = 3.0  # seconds a part may take to end
KEY_HASH: Final = re.compile(r"(^\[keys\.demo\]\nsha256 = )\"[0-9a-f]{64}\"", re.MULTILINE)
SIMULATOR: Final = """
import sys
from ops.simulator import Simulator, serve
serve(Simulator({}), port=int(sys.argv[1])).wait()
"""
QUICK: Final[Mapping[str, Any]] = {
    "window": 1.0,
    "rate": 200.0,
    "burst": 200,
    "timeout": 5.0,
    "backoff": [0.1, 2.0],
    "max_attempts": 20,
}

WEBHOOK: Final = """
[sources.immo]
account = {account}
scheme = "standard-webhooks"
secret = "env:DEMO_WEBHOOK_SECRET"

[[sources.immo.rules]]
when = "type == 'enquiry.created'"
action = "'create'"
relationtype = "'estate:address:interested'"
parentid = "data.estate_id"
childid = "data.person_ids"
occurred_at = "timestamp"

[[sources.immo.rules]]
when = "type == 'broker.changed'"
action = "'create'"
relationtype = "'estate:address:contactPerson'"
parentid = "data.estate_id"
childid = "data.now"
occurred_at = "timestamp"

[[sources.immo.rules]]
when = "type == 'broker.changed'"
action = "'delete'"
relationtype = "'estate:address:contactPerson'"
parentid = "data.estate_id"
childid = "data.before"
occurred_at = "timestamp"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What to start: accounts, their limits (keys of `[defaults]`), which parts, and on which ports (0: any
    free one).

    `store` and `broker` are the URLs of servers that run already; without them the stack has one for both,
    which persists as `persist` says and asks for the `password`, if there is one.
    """

    accounts: tuple[str, ...] = ("nord", "sued", "west")
    defaults: Mapping[str, Any] = field(default_factory=lambda: QUICK)
    parts: tuple[Part, ...] = PARTS
    store: str = ""
    broker: str = ""
    prefix: str = "relations"
    persist: Persist = "everysec"
    password: str = ""
    concurrency: int = 2
    workers: int = 1
    api_port: int = 0
    simulator_port: int = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account's token and secret, of the lengths that onOffice's have; made up from its name."""

    token: str
    secret: str

    @classmethod
    def of(cls, account: str) -> Self:
        """Make up credentials from the name: the same for the same name, so that a run can be repeated."""
        return cls(_hex(f"token {account}", 16), _hex(f"secret {account}", 32))


class Stack:
    """The running system: where its parts are, and the processes by name. Made by `running`."""

    def __init__(self, directory: Path, shape: Shape) -> None:
        self.directory, self.shape = directory.resolve(), shape
        self.credentials = {name: Credentials.of(name) for name in shape.accounts}
        self.webhook_secret = "whsec_" + b64encode(bytes.fromhex(_hex("webhook", 24))).decode()
        self.key = f"dev_{token_urlsafe(24)}"  # of this run alone
        self.processes: dict[str, Process] = {}
        self._exits = ExitStack()

    def start(self, *, echo: Callable[[str], None]) -> Self:
        """Start every part and wait until each answers; StartFailed carries the end of the log of one that
        does not.
        """
        try:
            self._start_servers(echo)
            self._start_parts(echo)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every part, the last started first."""
        self._exits.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def settings(self) -> Settings:
        """Load the settings that every part was started with."""
        return load_settings(self.environ, self.directory)

    def celery(self) -> Celery:
        """Return a bare Celery app on the broker, as a producer has one: it knows only our tasks' names."""
        return TaskSender(self.broker_url, self.shape.prefix).app

    def runtime(self, *, wakes: bool = True, background: bool = False) -> Runtime:
        """Return a producer's runtime in this process, whose events are dropped.

        With `wakes=False` it leaves waking to the sweep; in the `background`, a broken broker keeps nobody
        waiting.
        """
        wake: Wake = (
            TaskSender(self.broker_url, self.shape.prefix).wake if wakes else lambda _account, _seconds: None
        )
        if background:
            wake = WakeupQueue(wake, emit=_drop)
        return Runtime(self.settings(), wake=wake, emit=_drop)

    def simulate(self, route: str, document: Mapping[str, Any] | None = None, **query: str) -> Any:
        """Call the simulator's endpoint `/_sim/<route>`: a POST of the document, or a GET without one."""
        method = "GET" if document is None else "POST"
        answer = self.http.request(method, f"{self.simulator}/_sim/{route}", params=query, json=document)
        return answer.raise_for_status().json()

    def ended(self) -> list[str]:
        """Return the parts that are not running any more; `redis` is the server, if it is our own."""
        running = {"redis": self.server.running} | {
            name: process.running for name, process in self.processes.items()
        }
        return [name for name, up in running.items() if not up]

    def replace(self, part: str) -> None:
        """Kill a part by SIGKILL and start it again; all but `redis` may take a while to answer."""
        if part == "redis":
            self.server.kill()
            return self.server.restart()
        self.processes[part].kill()
        return self._launch(part, self._commands(int(self.url.rpartition(":")[2]))[part])

    def kill(self) -> None:
        """Kill every part by SIGKILL, the fastest way for a test that is done."""
        for process in self.processes.values():
            process.kill()

    def log(self, name: str) -> Path:
        """Return the path of a part's log."""
        return self.directory / ("redis/server.log" if name == "redis" else f"{name}.log")

    # --- Redis and the simulator

    def _start_servers(self, echo: Callable[[str], None]) -> None:
        self.http = self._exits.enter_context(httpx.Client(timeout=10.0, trust_env=False))
        self.directory.mkdir(parents=True, exist_ok=True)
        place, url = self.directory / "redis", self.shape.store or None
        self.server = self._exits.enter_context(
            run_server(place, url=url, persist=self.shape.persist, password=self.shape.password)
        )
        self.redis_url = self.server.url
        self.broker_url = self.shape.broker or self.redis_url
        echo(f"Redis server       {mask_url(self.redis_url)}")
        port = self.shape.simulator_port or free_port()
        self.simulator = f"http://127.0.0.1:{port}"
        self.environ = self._environ()
        self._write_settings(self.directory / "relations.toml")
        self._launch("simulator", [sys.executable, "-c", SIMULATOR, str(port)])
        self._await("simulator", lambda: self._answers(f"{self.simulator}/_sim/stats"))
        for name, each in self.credentials.items():
            self.simulate("seed", {"token": each.token, "secret": each.secret, "name": name})
        echo(f"onOffice simulator {self.simulator}")

    def _write_settings(self, file: Path) -> None:
        """Write the settings; in those of an earlier run, which somebody may have changed, only the key."""
        if file.exists():
            known = file.read_text("utf-8")
            file.write_text(KEY_HASH.sub(rf'\1"{hash_of(self.key)}"', known), "utf-8")
        else:
            file.write_text(settings_file(self.shape, self.key), "utf-8")

    def _environ(self) -> dict[str, str]:
        """Return every setting there is, so that none of the caller's own slips in."""
        secrets = {
            _variable(name, what): getattr(each, what)
            for name, each in self.credentials.items()
            for what in ("token", "secret")
        }
        return {
            **os.environ,
            **secrets,
            "DEMO_WEBHOOK_SECRET": self.webhook_secret,
            "RELATIONS_CONFIG": str(self.directory / "relations.toml"),
            "RELATIONS_REDIS_URL": self.redis_url,
            "RELATIONS_BROKER_URL": self.broker_url,
            "RELATIONS_API_URL": f"{self.simulator}/api/stable/api.php",
            "RELATIONS_PREFIX": self.shape.prefix,
            "RELATIONS_LOG": "json",
        }

    # --- the parts

    def _start_parts(self, echo: Callable[[str], None]) -> None:
        self.settings()  # faults in them are reported once, here
        port = self.shape.api_port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        for name, command in self._commands(port).items():
            if name.partition("-")[0] in self.shape.parts:
                self._launch(name, command)
        probes = {
            "worker": self._worker_answers,
            "beat": self._beat_keeps_time,
            "api": lambda: self._answers(f"{self.url}/readyz"),
        }
        lines = {
            "worker": f"Celery worker      {self.shape.workers * self.shape.concurrency} processes",
            "beat": "Celery beat",
            "api": f"HTTP intake        {self.url}",
        }
        for name in self.shape.parts:
            self._await(name, probes[name])
            echo(lines[name])

    def _commands(self, port: int) -> dict[str, list[str]]:
        """Return the commands by name; the workers beside the first are `worker-2` and so on."""
        celery = [sys.executable, "-m", "celery", "-A", "worker.app"]
        options = ["-c", str(self.shape.concurrency), "-l", "INFO", "--without-gossip", "--without-mingle"]
        worker = [*celery, "worker", *options]
        return {
            "worker": worker,
            **{f"worker-{n}": [*worker, "-n", f"worker-{n}@%h"] for n in range(2, self.shape.workers + 1)},
            "beat": [*celery, "beat", "-l", "INFO"],
            "api": [sys.executable, "-m", "ops.cli", "api", "--host", "127.0.0.1", "--port", str(port)],
        }

    def _launch(self, name: str, command: list[str]) -> None:
        self.processes[name] = process = Process(
            command, log=self.log(name), env=self.environ, cwd=self.directory
        )
        self._exits.callback(process.stop, seconds=STOP_TIMEOUT)

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        self.processes[name].wait_until(ready, seconds=START_TIMEOUT)

    def _answers(self, url: str) -> bool:
        try:
            return self.http.get(url).is_success
        except httpx.TransportError:
            return False

    def _worker_answers(self) -> bool:
        started = {process.pid for name, process in self.processes.items() if name.startswith("worker")}
        return started <= {worker.pid for worker in connect_metrics(self.settings()).list_workers()}

    def _beat_keeps_time(self) -> bool:
        return "beat.started" in self.log("beat").read_text("utf-8")


@contextmanager
def running(
    directory: Path, shape: Shape | None = None, *, echo: Callable[[str], None] = lambda _: None
) -> Iterator[Stack]:
    """Run the system in `directory`; it is up and answering in the block, and has ended after it."""
    with Stack(directory, shape or Shape()).start(echo=echo) as stack:
        yield stack


def hash_of(key: str) -> str:
    """Return the hash of a key, as the settings have it."""
    return sha256(key.encode()).hexdigest()


def settings_file(shape: Shape, key: str) -> str:
    """Return the settings file of a stack; secrets in it are names of environment variables."""
    tables = [("defaults", dict(shape.defaults))]
    for name in shape.accounts:
        secrets = {what: f"env:{_variable(name, what)}" for what in ("token", "secret")}
        tables.append((f"accounts.{name}", secrets))
    access = {
        "sha256": hash_of(key),
        "accounts": list(shape.accounts),
        "can": ["send", "read", "replay", "admin"],
    }
    tables.append(("keys.demo", access))
    return "\n".join(_table(name, values) for name, values in tables) + WEBHOOK.format(
        account=json.dumps(shape.accounts[0])
    )


def _drop(_event: str, /, **_fields: object) -> None:
    """Drop an event: what happens in this process is reported by its caller."""


def _table(name: str, values: Mapping[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


def _variable(account: str, what: str) -> str:
    return f"DEMO_{account}_{what}".upper().replace("-", "_")


def _hex(seed: str, size: int) -> str:
    return blake2b(seed.encode(), digest_size=size).hexdigest()
