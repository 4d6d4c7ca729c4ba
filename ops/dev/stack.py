"""The whole system as real processes in one directory: Redis, simulator, Celery worker and beat, HTTP intake.

For the demo, `relations dev`, benches and process tests, not for production. Nothing of it outlives the
process that started it.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Final, Literal

import httpx
from celery import Celery

from ops.dev.processes import Process, free_port
from ops.dev.redis_server import Persist, run_server
from ops.dev.stack_settings import Credentials, make_webhook_secret, secret_variables, update_settings
from worker.background import WakeupQueue
from worker.config import Settings, load_settings, mask_url
from worker.ports import Wake
from worker.wakeups import TaskSender
from worker.wiring import Runtime, connect_metrics

Part = Literal["worker", "beat", "api"]

PARTS: Final[tuple[Part, ...]] = ("worker", "beat", "api")
START_TIMEOUT: Final = 30.0  # seconds a part may take to come up
STOP_TIMEOUT: Final = 3.0  # seconds a part may take to end
SIMULATOR: Final = """
import sys
from pathlib import Path
from ops.simulator import KeptSimulator, Simulator, serve
port, *kept = sys.argv[1:]
simulator = Simulator({})
serve(KeptSimulator(simulator, Path(*kept)) if kept else simulator, port=int(port)).wait()
"""
CRM_FILE: Final = "crm.json"
QUICK: Final[Mapping[str, Any]] = {
    "window": 1.0,
    "rate": 200.0,
    "burst": 200,
    "timeout": 5.0,
    "backoff": [0.1, 2.0],
    "max_attempts": 20,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What to start: accounts, their limits (keys of `[defaults]`), which parts, and on which ports (0: any
    free one).

    `store` and `broker` are the URLs of servers that run already; without them the stack has one for both,
    which persists as `persist` says and asks for the `password`, if there is one. `keep_crm` writes the
    simulated CRMs into the directory, where the next start finds them; `missing` holds at the first only.
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
    redis_port: int = 0
    keep_crm: bool = False
    missing: tuple[tuple[str, int], ...] = ()  # records that there are not


class Stack:
    """The running system: where its parts are, and the processes by name. Made by `running`."""

    def __init__(self, directory: Path, shape: Shape, exits: ExitStack) -> None:
        self.directory, self.shape = directory.resolve(), shape
        self.credentials = {name: Credentials.of(name) for name in shape.accounts}
        self.webhook_secret = make_webhook_secret()
        self.key = f"dev_{token_urlsafe(24)}"  # of this run alone
        self.processes: dict[str, Process] = {}
        self._exits = exits

    def start(self, *, echo: Callable[[str], None]) -> None:
        """Start every part and wait until each answers; StartFailed carries the end of the log of one that
        does not.
        """
        self._start_redis(echo)
        self._start_simulator(echo)
        self._start_parts(echo)

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

    def can_replace(self, part: str) -> bool:
        """Return whether the part goes on where it ended: a simulator does so only if its CRMs are kept."""
        return part != "simulator" or self.shape.keep_crm

    def replace(self, part: str) -> None:
        """Kill a part by SIGKILL and start it again; all but `redis` may take a while to answer."""
        if part == "redis":
            self.server.kill()
            return self.server.restart()
        self.processes[part].kill()
        if part == "simulator":
            return self._launch(part, self._simulator_command())
        return self._launch(part, self._commands()[part])

    def kill(self) -> None:
        """Kill every part by SIGKILL, the fastest way for a test that is done."""
        for process in self.processes.values():
            process.kill()

    def log(self, name: str) -> Path:
        """Return the path of a part's log."""
        return self.directory / ("redis/server.log" if name == "redis" else f"{name}.log")

    # --- Redis and the simulator

    def _start_redis(self, echo: Callable[[str], None]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.server = self._exits.enter_context(
            run_server(
                self.directory / "redis",
                url=self.shape.store or None,
                persist=self.shape.persist,
                port=self.shape.redis_port,
                password=self.shape.password,
            )
        )
        self.redis_url = self.server.url
        self.broker_url = self.shape.broker or self.redis_url
        echo(f"Redis server       {mask_url(self.redis_url)}")

    def _start_simulator(self, echo: Callable[[str], None]) -> None:
        self.http = self._exits.enter_context(httpx.Client(timeout=10.0, trust_env=False))
        self._simulator_port = self.shape.simulator_port or free_port()
        self.simulator = f"http://127.0.0.1:{self._simulator_port}"
        self.environ = self._environ()
        update_settings(
            self.directory / "relations.toml", self.shape.accounts, self.shape.defaults, key=self.key
        )
        kept = self.directory / CRM_FILE
        records = {"missing": self.shape.missing} if self.shape.missing and not kept.exists() else None
        self._launch("simulator", self._simulator_command())
        self._await("simulator", lambda: self._answers(f"{self.simulator}/_sim/stats"))
        for name, each in self.credentials.items():
            account = {"token": each.token, "secret": each.secret, "name": name}
            self.simulate("seed", {**account, "records": records})
        echo(f"onOffice simulator {self.simulator}")

    def _simulator_command(self) -> list[str]:
        kept = [str(self.directory / CRM_FILE)] if self.shape.keep_crm else []
        return [sys.executable, "-c", SIMULATOR, str(self._simulator_port), *kept]

    def _environ(self) -> dict[str, str]:
        """Return every setting there is, so that none of the caller's own slips in."""
        return {
            **os.environ,
            **secret_variables(self.credentials, self.webhook_secret),
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
        self._api_port = self.shape.api_port or free_port()
        self.url = f"http://127.0.0.1:{self._api_port}"
        for name, command in self._commands().items():
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

    def _commands(self) -> dict[str, list[str]]:
        """Return the commands by name; the workers beside the first are `worker-2` and so on."""
        celery = [sys.executable, "-m", "celery", "-A", "worker.app"]
        options = ["-c", str(self.shape.concurrency), "-l", "INFO", "--without-gossip", "--without-mingle"]
        worker = [*celery, "worker", *options]
        host, port = "127.0.0.1", str(self._api_port)
        return {
            "worker": worker,
            **{f"worker-{n}": [*worker, "-n", f"worker-{n}@%h"] for n in range(2, self.shape.workers + 1)},
            "beat": [*celery, "beat", "-l", "INFO"],
            "api": [sys.executable, "-m", "ops.cli", "api", "--host", host, "--port", port],
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
    with ExitStack() as exits:
        stack = Stack(directory, shape or Shape(), exits)
        stack.start(echo=echo)
        yield stack


def _drop(_event: str, /, **_fields: object) -> None:
    """Drop an event: what happens in this process is reported by its caller."""
