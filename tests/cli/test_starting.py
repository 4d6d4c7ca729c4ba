"""What cannot begin says so in one line and with exit code 2: a port, an address or a directory in use."""

import json
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.dev import local
from ops.dev.processes import occupy
from ops.dev.redis_server import run_server
from ops.dev.stack import QUICK, Shape, Stack
from ops.dev.stack_settings import hash_of, update_settings
from producers.errors import CannotStart
from tests.support.cli_runner import make_cli, make_environ, write_settings


@pytest.fixture
def signals() -> Iterator[None]:
    """Undo what `dev` does to signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("command", ["api", "simulator"])
def test_a_busy_port_is_one_line_that_says_what_to_do(tmp_path: Path, taken_port: int, command: str) -> None:
    cli = make_cli(make_environ(write_settings(tmp_path, "https://crm.example.test", "acme"), "redis://x"))
    problem = f"cannot listen on 127.0.0.1:{taken_port}: Address already in use; "
    refused = cli(command, "--port", str(taken_port), code=2)
    assert refused.stderr == f"{problem}end what listens there, or take another port with --port\n"
    foreign = cli(command, "--host", "203.0.113.1", code=2).stderr
    assert foreign.splitlines()[-1].endswith("; name an address of this machine with --host")


@pytest.mark.parametrize("option", ["--port", "--simulator-port"])
def test_dev_looks_at_its_ports_before_it_starts_anything(
    tmp_path: Path, taken_port: int, option: str, signals: None, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = {"port": 0, "simulator_port": 0, option.strip("-").replace("-", "_"): taken_port}
    assert local.run(directory=tmp_path / "dev", **ports) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.endswith(f"end what listens there, or take another port with {option}\n")
    assert not (tmp_path / "dev").exists()


def test_a_directory_is_for_one_dev_at_a_time(
    tmp_path: Path, signals: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with occupy(tmp_path):
        assert local.run(directory=tmp_path, port=0, simulator_port=0) == 2
        with pytest.raises(CannotStart, match=r"is in use by process \d+; end that, or take another"):
            occupy(tmp_path).__enter__()
    assert "is in use by process" in capsys.readouterr().err
    with occupy(tmp_path):
        pass


def test_each_run_has_a_key_of_its_own_also_over_settings_that_somebody_has_changed(tmp_path: Path) -> None:
    first, second = (Stack(tmp_path, Shape(), ExitStack()) for _ in range(2))
    assert first.key != second.key
    file = tmp_path / "relations.toml"
    update_settings(file, ["acme"], QUICK, key=first.key)
    file.write_text(file.read_text().replace("burst = 200", "burst = 7"))
    update_settings(file, ["acme"], QUICK, key=second.key)
    assert "burst = 7" in file.read_text()
    assert hash_of(second.key) in file.read_text()
    assert hash_of(first.key) not in file.read_text()


def test_without_a_settings_file_a_command_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = make_cli({"RELATIONS_CONFIG": ""})("send", "create", "estate:address:buyer", "1", "2", code=2)
    note, *_ = result.stderr.splitlines()
    assert note.startswith("note: RELATIONS_CONFIG: names no settings file, and there is neither ")
    assert str(tmp_path / "relations.toml") in note
    assert "/etc/onoffice-relations/relations.toml" in note


@pytest.mark.parametrize(
    "line", [("jobs", "list"), ("send", "create", "estate:address:buyer", "501", "9001")], ids=lambda x: x[0]
)
def test_a_redis_that_hangs_is_waited_for_once(
    line: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.cli.context.REDIS_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"redis://127.0.0.1:{hung.getsockname()[1]}/0"
        result = make_cli(make_environ(write_settings(tmp_path, "http://127.0.0.1:9", "acme"), url))(
            *line, code=2
        )
        assert "Timeout reading from socket. See why it hangs, or set RELATIONS_REDIS_URL" in result.stderr
        hung.accept()[0].close()
        hung.setblocking(False)
        with pytest.raises(BlockingIOError):
            hung.accept()


def test_a_command_says_to_start_no_server_that_answers(tmp_path: Path) -> None:
    cli = make_cli(make_environ(write_settings(tmp_path, "https://crm.example.test", "acme"), "redis://x"))
    with run_server(tmp_path / "redis", password="right") as server:
        url = f"redis://{server.url.partition('@')[2]}"
        told = cli("jobs", "list", "--account", "acme", code=2, RELATIONS_REDIS_URL=url).stderr
    assert "Mend what it says, or set RELATIONS_REDIS_URL" in told


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "list", "--nope", "--json"),
        ("jobs", "show", "--json"),
        ("nonsense", "--json"),
        ("--json", "jobs", "show"),
        ("jobs", "--json", "show"),
        ("--json",),
        ("jobs", "list", "--json", "--state", "nonsense"),
        ("jobs", "list", "--json", "--since", "nonsense"),
        ("accounts", "pause", "a/b", "--json"),
        ("send", "nonsense", "--json"),
        ("api", "--port", "x", "--json"),
    ],
)
def test_a_wrong_command_line_with_json_is_one_object(tmp_path: Path, words: Sequence[str]) -> None:
    done = make_cli({"RELATIONS_CONFIG": str(tmp_path / "nowhere.toml")})(*words, code=2)
    assert done.stdout == ""
    document = json.loads(done.stderr)
    assert (document["error"], document["faults"]) == ("UsageError", [])
    assert document["message"]


def test_json_after_a_double_dash_is_a_word_and_asks_for_nothing() -> None:
    done = make_cli({})("jobs", "list", "--", "--json", code=2)
    assert "Error: Got unexpected extra argument (--json)" in done.stderr
