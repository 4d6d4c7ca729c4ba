"""An import that has to wait, or is stopped: it prints for what, how far it came, and how to go on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.cli.errors import Exit
from tests.support.cli_runner import MISSING, Cli, make_cli, run_when_accepted
from tests.support.waiting import HANGS_AFTER
from worker.wiring import Runtime

LINKS = ("--set", "action=create", "--set", "type=estate:address:buyer")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "links.csv"
    file.write_text("parentid,childid\n1,2\n1,3\n1,4\n")
    return file


@contextmanager
def started(env: dict[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run an import in a process of its own."""
    command = [sys.executable, "-m", "ops.cli", "import", *words]
    with subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=HANGS_AFTER)
    assert process.returncode == Exit.INTERRUPTED
    return output


# --- what was known before is followed under the label it has


@pytest.mark.parametrize("label", [("--batch", "B"), ()])
def test_waiting_for_known_lines_waits_for_their_jobs(
    cli: Cli, runtime: Runtime, drain: Callable[[], None], file: Path, label: tuple[str, ...]
) -> None:
    cli("import", str(file), *LINKS, "--batch", "A")
    with ThreadPoolExecutor() as pool:
        renamed = file.rename(file.with_name("renamed.csv"))
        imported = pool.submit(cli, "import", str(renamed), *LINKS, *label, "--wait", "--json")
        drain()
        answer = json.loads(imported.result(60).stdout)
    assert (answer["accepted"], answer["known"]) == (0, 3)
    ((name, opened, succeeded),) = [
        (each["batch"], each["open"], each["succeeded"]) for each in answer["batches"]
    ]
    assert (name, opened, succeeded) == ("A", 0, 3)


def test_every_label_is_followed_that_a_line_ever_had_and_jobs_without_one(
    cli: Cli, runtime: Runtime, drain: Callable[[], None], tmp_path: Path
) -> None:
    """Lines under event ids of their own may have come with any import; here their labels alternate."""
    link = {"action": "create", "relationtype": "estate:address:buyer", "parentid": 1, "source": "x"}
    lines = [
        json.dumps({**link, "childid": MISSING if n == 7 else n + 1, "event_id": f"e{n}"}) + "\n"
        for n in range(12)
    ]
    for number, label in enumerate(("L0", "L1", "L2")):
        (tmp_path / label).write_text("".join(lines[number::4]))
        cli("import", str(tmp_path / label), "--batch", label)
    (tmp_path / "sent.ndjson").write_text("".join(lines[3::4][:2]))
    cli("send", str(tmp_path / "sent.ndjson"))
    (tmp_path / "all.ndjson").write_text("".join(lines))
    with ThreadPoolExecutor() as pool:
        imported = pool.submit(
            cli, "import", str(tmp_path / "all.ndjson"), "--batch", "L3", "--wait", "--json", code=Exit.PARTLY
        )
        run_when_accepted(runtime, 12, drain)
        answer = json.loads(imported.result(60).stdout)
    ends = {each["batch"]: (each["accepted"], each["open"], each["failed"]) for each in answer["batches"]}
    assert ends == {"L0": (3, 0, 0), "L1": (3, 0, 0), "L2": (3, 0, 0), "L3": (1, 0, 0), "": (2, 0, 1)}


# --- for what it waits


@pytest.mark.parametrize(
    "where",
    [
        {"RELATIONS_REDIS_URL": "redis://127.0.0.1:1/0"},
        {"RELATIONS_URL": "http://127.0.0.1:1", "RELATIONS_KEY": "k"},
    ],
)
def test_a_notice_soon_names_what_is_waited_for_and_how_to_stop(
    env: dict[str, str], file: Path, where: dict[str, str]
) -> None:
    with started({**env, **where}, str(file), *LINKS, "--account", "acme") as process:
        assert process.stderr
        line = process.stderr.readline()
        assert line.startswith("Waiting: ")
        assert "127.0.0.1:1" in line
        assert "Ctrl-C stops; the same command goes on." in line
        _, rest = interrupted(process)
    assert "Stopped at line 4: 0 accepted, 0 known already, 0 rejected; batch links.csv-" in rest


def test_stopping_to_wait_prints_what_was_accepted_and_the_label(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.cli.import_steps.follow.sleep", stopped)
    result = cli("import", str(file), *LINKS, "--wait", "--batch=spring", code=Exit.INTERRUPTED)
    assert "3 accepted, 0 known already, 0 rejected; batch spring\n" in result.stdout
    assert "spring: 0 succeeded, 0 superseded, 0 failed, 3 open\n" in result.stdout
    assert "Stopped waiting; what was accepted is worked all the same." in result.stderr
    again = cli("import", str(file), *LINKS, "--wait", "--json", code=Exit.INTERRUPTED)
    assert [(each["batch"], each["open"]) for each in json.loads(again.stdout)["batches"]] == [("spring", 3)]


def stopped(seconds: float) -> None:
    raise KeyboardInterrupt


# --- when it prints how to go on


def test_nothing_is_printed_about_going_on_when_that_is_impossible(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("parentid,unit\n1,2\n")
    (tmp_path / "bad.ndjson").write_text("[1]\n")
    for name in ("bad.csv", "bad.ndjson"):
        result = cli("import", str(tmp_path / name), *LINKS, code=Exit.FAILED)
        assert "Stopped" not in result.output
        assert "goes on" not in result.output


@pytest.mark.parametrize("url", ["nowhere", "ftp://127.0.0.1", "https://user:word@127.0.0.1"])
def test_an_invalid_address_ends_it_at_once(cli: Cli, file: Path, url: str) -> None:
    result = cli(
        "import",
        str(file),
        *LINKS,
        "--account",
        "acme",
        code=Exit.USAGE,
        RELATIONS_URL=url,
        RELATIONS_KEY="k",
    )
    assert "Error: Invalid value for '--url': expected an address" in result.output


# --- what stops it before its first line


def test_without_an_account_nothing_begins(two_accounts: dict[str, str], file: Path) -> None:
    cli = make_cli(two_accounts)
    for more in ((), ("--dry-run",)):
        result = cli("import", str(file), *LINKS, *more, code=Exit.FAILED)
        assert result.output.splitlines() == [
            "header: no column for account; name one with --map COLUMN=account,"
            " or the value with --account NAME"
        ]
    assert "3 accepted" in cli("import", str(file), *LINKS, "--account", "berg").output
    assert "3 accepted" in cli("import", str(file), *LINKS, "--set", "konto=acme").output
    cli("import", str(file), *LINKS, "--set", "account=nobody", code=Exit.NOT_FOUND)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--batch", "x" * 65), "--batch: expected a text of 1 to 64"),
        (("--batch", ""), "--batch: expected a text"),
        (("--batch", "a\nb"), "--batch: expected a text"),
        (("--set", "action=make"), "--set action: expected one of"),
        (("--set", "typ=estate:buyer"), "--set relationtype: "),
        ((*LINKS, "--set", "parent=x"), "--set parentid: expected an id"),
        ((*LINKS, "--set", "statusTerminbestaetigung=x"), "--set relationinfo.statusTerminbestaetigung: "),
    ],
)
def test_a_value_that_no_line_could_have_stops_it(
    cli: Cli, runtime: Runtime, file: Path, words: tuple[str, ...], named: str
) -> None:
    result = cli("import", str(file), *words, code=Exit.USAGE)
    assert named in result.output
    assert runtime.store.counts("acme").get("accepted", 0) == 0


@pytest.mark.parametrize("text", ["", "\n\n", "parentid,childid\n", "parentid,childid\n\n"])
def test_a_dry_run_ends_as_the_import_would(cli: Cli, file: Path, text: str) -> None:
    file.write_text(text)
    outputs = {
        cli("import", str(file), *LINKS, *more, code=Exit.FAILED).output for more in ((), ("--dry-run",))
    }
    assert outputs == {"expected at least one change, got nothing\n"}
