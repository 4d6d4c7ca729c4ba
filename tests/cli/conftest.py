"""The command line in this process, against a real Redis and a simulator on a socket."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.simulator import Records, Simulator, SimulatorServer, serve
from tests.support.cli_runner import MISSING, SECRET, TOKEN, Cli, make_cli, make_environ, write_settings
from worker.config import load_settings
from worker.wiring import Runtime


@pytest.fixture
def simulator() -> Simulator:
    return Simulator({TOKEN: SECRET}, records=Records(missing=frozenset({("address", MISSING)})))


@pytest.fixture
def api(simulator: Simulator) -> Iterator[SimulatorServer]:
    with serve(simulator) as server:
        yield server


@pytest.fixture
def env(tmp_path: Path, redis_url: str, api: SimulatorServer) -> dict[str, str]:
    return make_environ(write_settings(tmp_path, api.url, "acme"), redis_url)


@pytest.fixture
def two_accounts(tmp_path: Path, redis_url: str, api: SimulatorServer) -> dict[str, str]:
    return make_environ(write_settings(tmp_path, api.url, "acme", "berg"), redis_url)


@pytest.fixture
def cli(env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command with the settings of one account, in a folder of its own; `env` adds to them."""
    monkeypatch.chdir(tmp_path)
    return make_cli(env)


@pytest.fixture
def runtime(env: dict[str, str], tmp_path: Path) -> Runtime:
    return Runtime(load_settings(env, tmp_path), wake=lambda *_: None, emit=lambda *_, **__: None)


@pytest.fixture
def drain(runtime: Runtime) -> Callable[[], None]:
    """Work the inbox of acme until nothing is due, as a worker would."""

    def run() -> None:
        for _ in range(20):
            runtime.flush("acme")
            counts = runtime.store.counts("acme")
            if not counts["backlog"] and not counts["open"]:
                return
        raise AssertionError(f"still open: {runtime.store.counts('acme')}")

    return run
