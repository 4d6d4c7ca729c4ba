"""Settings and a runner for tests of the command line."""

from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from ops.cli import main

TOKEN, SECRET = "t" * 32, "s" * 64
MISSING = 7777  # an address the simulator does not have

Cli = Callable[..., Result]


def settings_file(folder: Path, api_url: str, *accounts: str) -> Path:
    path = folder / "relations.toml"
    tables = [
        f'[accounts.{name}]\ntoken = "env:TOKEN"\nsecret = "env:SECRET"\napi_url = "{api_url}"\n'
        for name in accounts
    ]
    path.write_text("[defaults]\nwindow = 0\nrate = 1000\nburst = 1000\nmax_attempts = 1\n" + "".join(tables))
    return path


def environ(config: Path, redis_url: str) -> dict[str, str]:
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


def runner(surroundings: dict[str, str]) -> Cli:
    def run(*args: str, code: int = 0, stdin: bytes | None = None, **more: str) -> Result:
        result = CliRunner().invoke(
            main, args, env={**surroundings, **more}, input=stdin, prog_name="relations"
        )
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return run


def job_of(result: Result) -> str:
    """The job that `send` names first."""
    return result.stdout.split()[0]
