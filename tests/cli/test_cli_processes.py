"""The command line as a real process: what the shell sees."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
import redis

from tests.support.started import WITH_SIGINT_IGNORED
from tests.support.waiting import HANGS_AFTER

BUYER = "estate:address:buyer"
COMMAND = (sys.executable, "-m", "ops.cli")
ROOT = Path(__file__).parents[2]


def run(*words: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        env={**os.environ, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
        check=False,
    )


def test_the_installed_command_is_the_module(tmp_path: Path) -> None:
    installed = Path(sys.executable).with_name("relations")
    helps = [
        subprocess.run(
            [*command, "--help"], cwd=tmp_path, capture_output=True, timeout=HANGS_AFTER, check=True
        )
        for command in ([installed], COMMAND)
    ]
    assert helps[0].stdout == helps[1].stdout
    assert helps[0].stdout.startswith(b"Usage: relations ")


def test_a_sent_change_wakes_a_worker(env: dict[str, str], tmp_path: Path, redis_client: redis.Redis) -> None:
    done = run("send", "create", BUYER, "501", "9001", env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert redis_client.llen("relations.flush") == 1
    assert done.stdout.startswith("acme-")


@pytest.mark.parametrize(
    "words",
    [("ops.cli", "sources", "list"), ("celery", "-A", "worker.app", "list", "bindings")],
    ids=["relations", "celery"],
)
def test_a_command_works_in_a_folder_that_was_removed(
    env: dict[str, str], tmp_path: Path, words: Sequence[str]
) -> None:
    """As that of a former release, in which somebody still stands."""
    (tmp_path / "gone").mkdir()
    command = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", sys.executable, "-m", *words]
    done = subprocess.run(
        command, env=os.environ | env, cwd=tmp_path / "gone", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [("jobs", "list"), ("send", "create", BUYER, "501", "9001")])
def test_redis_away_is_one_line_and_no_traceback(
    env: dict[str, str], tmp_path: Path, words: Sequence[str]
) -> None:
    away = {
        "RELATIONS_REDIS_URL": "redis://:hunter22@127.0.0.1:1/0",
        "RELATIONS_BROKER_URL": "redis://127.0.0.1:1",
    }
    done = run(*words, env={**env, **away}, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("redis://***@127.0.0.1:1/0: ")


def test_bad_settings_are_one_message_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "relations.toml").write_text('[accounts.acme]\ntoken = "env:GONE"\n')
    done = run("accounts", "list", env={"RELATIONS_CONFIG": "relations.toml"}, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "accounts.acme.token" in done.stderr
    assert "accounts.acme.secret" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("start", [(), WITH_SIGINT_IGNORED])
def test_the_simulator_serves_until_ctrl_c_which_is_quiet(tmp_path: Path, start: Sequence[str]) -> None:
    words = ("simulator", "--port", "0", "--account", "my-token:my-secret", "--switch", "duplicate_create=78")
    with subprocess.Popen(
        [*start, *COMMAND, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            url = process.stdout.readline().split()[0]
            assert httpx.get(url.replace("/api/stable/api.php", "/_sim/stats")).json()["relations"] == 0
            process.send_signal(signal.SIGINT)
            assert process.wait(HANGS_AFTER) == 130
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_a_terminal_gets_a_table_with_bold_heads(env: dict[str, str], tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    surroundings = {**os.environ, **env, "TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(
        [*COMMAND, "accounts", "list"], env=surroundings, cwd=tmp_path, stdout=theirs
    ) as process:
        os.close(theirs)
        assert process.wait(HANGS_AFTER) == 0
    with os.fdopen(ours, "rb", buffering=0) as screen:
        shown = screen.read(4096).decode()
    assert "\x1b[1mACCOUNT" in shown
    assert "works" in shown


@pytest.mark.parametrize("words", [("jobs", "list"), ("api",), ("simulator",), ("--help",)])
def test_ctrl_c_is_quiet_while_the_program_is_still_imported(tmp_path: Path, words: Sequence[str]) -> None:
    # A read that begins just after the signal came would wait for ever, so it looks again and again.
    waits = "while not select.select([sys.stdin], [], [], 0.1)[0]: pass"
    (tmp_path / "click.py").write_text(f"import select, sys\nprint('begins', flush=True)\n{waits}")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))}
    with subprocess.Popen(
        [*COMMAND, *words],
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "begins\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(HANGS_AFTER) == 130
            assert process.stdout.read() + process.stderr.read() == ""
        finally:
            process.kill()


@pytest.mark.parametrize("path", ["/nowhere", __file__])
def test_certificates_that_cannot_be_read_are_named(tmp_path: Path, path: str) -> None:
    env = {"SSL_CERT_FILE": path, "RELATIONS_KEY": "key", "RELATIONS_URL": "https://127.0.0.1:1"}
    done = run("accounts", "list", env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be read" in done.stderr
    assert done.stderr.count("\n") == 1
