"""What others wrote is printed, and obeyed by no terminal; no encoding of a terminal ends a command."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.errors import Exit
from tests.support.cli_runner import Cli
from worker.contract.quoting import make_printable

ROOT = Path(__file__).parents[2]
BUYER = "estate:address:buyer"
EVIL = "harmless\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\r\x7f"


@given(st.text())
def test_a_text_is_printable_after_the_border_and_json_stays_json(text: str) -> None:
    safe = make_printable(text)
    assert all(char in "\n\t" or char.isprintable() or char.isspace() or ord(char) > 0xA0 for char in safe)
    assert "\x1b" not in safe
    assert make_printable(safe) == safe
    document = json.dumps({"reason": text}, ensure_ascii=False)
    assert json.loads(make_printable(document)) == {"reason": text}


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_a_reason_that_commands_the_terminal_is_shown_and_not_obeyed(cli: Cli, as_json: list[str]) -> None:
    cli("accounts", "pause", "acme", "--why", EVIL)
    for command in (("accounts", "list"), ("audit",), ("doctor", "--no-api")):
        result = cli(*command, *as_json, code=None)
        output = result.output
        assert not set(EVIL) & set("\x1b\x07\x9b\u202e\r\x7f") & set(output), command
        if as_json:
            json.loads(result.stdout)


def test_a_terminal_without_umlauts_is_told_in_escapes(cli: Cli, env: dict[str, str]) -> None:
    cli("accounts", "pause", "acme", "--why", "Störung → später")
    for encoding, printed in (("latin-1", b"St\xf6rung \\u2192"), ("ascii", "Störung →".encode())):
        ended = subprocess.run(
            [sys.executable, "-m", "ops.cli", "accounts", "list"],
            env={**os.environ, **env, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"},
            capture_output=True,
            cwd=ROOT,
        )
        assert ended.returncode == 0, ended.stderr
        assert printed in ended.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
@pytest.mark.parametrize("words", [("accounts", "list"), ("accounts", "list", "--json"), ("--help",)])
def test_output_that_cannot_be_written_is_one_line_and_no_traceback(
    env: dict[str, str], words: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        ended = start(words, env, stdout=full, stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr.count(b"\n")) == (1, 1)
    assert b"cannot be written: No space left on device" in ended.stderr


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_a_closed_output_changes_nothing(cli: Cli, env: dict[str, str], closed: tuple[int, ...]) -> None:
    ended = start(
        ("accounts", "pause", "acme", "--why", "closed"),
        env,
        preexec_fn=lambda: [os.close(number) for number in closed],
    )
    assert ended.returncode == 0
    assert "closed" in cli("accounts", "list").stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("import", "-", "--set", "action=create", "--set", f"relationtype={BUYER}"), Exit.FAILED),
        (
            ("import", "-", "--dry-run", "--set", "action=create", "--set", f"relationtype={BUYER}"),
            Exit.FAILED,
        ),
        (("send", "-"), Exit.FAILED),
        (("jobs", "list"), Exit.OK),
    ],
)
def test_from_a_closed_input_comes_nothing(env: dict[str, str], words: tuple[str, ...], code: Exit) -> None:
    ended = start(words, env, preexec_fn=lambda: os.close(0), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (code, False), ended.stderr
    assert code == Exit.OK or b"got nothing" in ended.stderr


def start(words: tuple[str, ...], env: dict[str, str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "ops.cli", *words]
    return subprocess.run(command, env={**os.environ, **env}, cwd=ROOT, check=False, **options)


def read_terminal(words: tuple[str, ...], env: dict[str, str]) -> bytes:
    """Return what a command prints on a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "ops.cli", *words],
        env={**os.environ, **env},
        stdout=slave,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    ):
        os.close(slave)
        printed = b""
        try:
            while piece := os.read(master, 65_536):
                printed += piece
        except OSError:  # how Linux ends a terminal
            pass
    return printed


@pytest.mark.parametrize(
    ("more", "is_coloured"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_that_is_to_have_no_colours_gets_none(
    env: dict[str, str], more: dict[str, str], is_coloured: bool
) -> None:
    printed = read_terminal(("doctor", "--no-api"), {**env, "TERM": "xterm", **more})
    assert b"settings: " in printed
    assert (b"\x1b" in printed) is is_coloured


def test_a_table_on_a_terminal_is_coloured_by_us_alone(cli: Cli, env: dict[str, str]) -> None:
    cli("accounts", "pause", "acme", "--why", EVIL)
    printed = read_terminal(("accounts", "list"), {**env, "TERM": "xterm"})
    assert b"harmless\\u001b" in printed
    assert b"\x1b]0" not in printed
    assert b"\x1b[1m" in printed
