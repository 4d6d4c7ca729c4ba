"""Settings and a runner for tests of the command line."""

import time
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from ops.cli.root import main
from worker.wiring import Runtime

TOKEN, SECRET = "t" * 32, "s" * 64
MISSING = 7777  # an address the simulator does not have

Cli = Callable[..., Result]


def write_settings(folder: Path, api_url: str, *accounts: str) -> Path:
    path = folder / "relations.toml"
    tables = [
        f'[accounts.{name}]\ntoken = "env:TOKEN"\nsecret = "env:SECRET"\napi_url = "{api_url}"\n'
        for name in accounts
    ]
    path.write_text("[defaults]\nwindow = 0\nrate = 1000\nburst = 1000\nmax_attempts = 1\n" + "".join(tables))
    return path


def make_environ(config: Path, redis_url: str) -> dict[str, str]:
    return {
        "RELATIONS_CONFIG": str(config),
        "RELATIONS_REDIS_URL": redis_url,
        "RELATIONS_BROKER_URL": "",
        "RELATIONS_PREFIX": "",
        "RELATIONS_API_URL": "",
        "RELATIONS_LOG": "",
        "TOKEN": TOKEN,
        "SECRET": SECRET,
    }


def make_cli(env: dict[str, str]) -> Cli:
    def run(*args: str, code: int | None = 0, stdin: bytes | None = None, **more: str) -> Result:
        result = CliRunner().invoke(main, args, env={**env, **more}, input=stdin, prog_name="relations")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert code is None or result.exit_code == code, result.output
        return result

    return run


def first_job(result: Result) -> str:
    """Return the job that `send` prints first."""
    return result.stdout.split()[0]


def run_when_accepted(runtime: Runtime, number: int, act: Callable[[], None]) -> None:
    """Act as soon as so many changes of acme have been accepted, or after a minute."""
    deadline = time.monotonic() + 60
    while runtime.store.counts("acme").get("accepted", 0) < number and time.monotonic() < deadline:
        time.sleep(0.02)
    act()
