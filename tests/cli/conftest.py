"""The command line in this process, against a real Redis and a simulator on a socket."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.simulator import Records, Server, Simulator, serve
from tests.support.cli_runner import MISSING, SECRET, TOKEN, Cli, environ, runner, settings_file
from worker.live_settings import load_settings
from worker.wiring import Runtime


@pytest.fixture
def simulator() -> Simulator:
    return Simulator({TOKEN: SECRET}, records=Records(missing=frozenset({("address", MISSING)})))


@pytest.fixture
def api(simulator: Simulator) -> Iterator[Server]:
    with serve(simulator) as server:
        yield server


@pytest.fixture
def env(tmp_path: Path, redis_url: str, api: Server) -> dict[str, str]:
    return environ(settings_file(tmp_path, api.url, "acme"), redis_url)


@pytest.fixture
def two_accounts(tmp_path: Path, redis_url: str, api: Server) -> dict[str, str]:
    return environ(settings_file(tmp_path, api.url, "acme", "berg"), redis_url)


@pytest.fixture
def cli(env: dict[str, str]) -> Cli:
    """Runs a command with the settings of one account; `env` adds to them."""
    return runner(env)


@pytest.fixture
def runtime(env: dict[str, str], tmp_path: Path) -> Runtime:
    return Runtime(load_settings(env, tmp_path), wake=lambda *_: None, emit=lambda *_, **__: None)


@pytest.fixture
def drain(runtime: Runtime) -> Callable[[], None]:
    """Works the inbox of acme until nothing is due, as a worker would."""

    def run() -> None:
        for _ in range(20):
            runtime.flush("acme")
            counts = runtime.store.counts("acme")
            if not counts["backlog"] and not counts["open"]:
                return
        raise AssertionError(f"still open: {runtime.store.counts('acme')}")

    return run
