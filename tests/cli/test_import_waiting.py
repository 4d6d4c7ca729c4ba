"""An import that has to wait, or is stopped: it prints for what, how far it came, and how to go on."""

import errno
import gzip
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


# --- disks that are gone, or full


class VanishingFile(io.FileIO):
    """A file on another machine, which is gone while it is read for the second time."""

    was_read = is_gone = False

    def readinto(self, buffer: Any, /) -> int | None:
        if self.is_gone and self.tell() > 2**17:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        count = super().readinto(buffer)
        self.was_read |= not count
        return count

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.is_gone |= self.was_read
        return super().seek(offset, whence)


def test_an_import_from_a_disk_that_vanishes_says_how_far_it_came_and_goes_on(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, lines = tmp_path / "links.csv", 40_000
    file.write_text("parentid,childid\n" + "".join(f"1,{child}\n" for child in range(1, lines + 1)))
    open_path: Callable[..., Any] = Path.open

    def open_there(path: Path, *how: Any, **more: Any) -> Any:
        return io.BufferedReader(VanishingFile(path)) if path == file else open_path(path, *how, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_there)
        printed = cli("import", str(file), *LINKS, "--dry-run", code=Exit.FAILED).stderr
        assert printed == "the file can be read no further: Stale file handle\n"
        printed = cli("import", str(file), *LINKS, code=Exit.FAILED).stderr
    assert re.fullmatch(
        r"(import: .*\n)*"  # on a slow machine it says meanwhile how far it is
        r"Stopped at line [0-9,]+: [0-9,]+ accepted, .* Once this is mended, the same command goes on; "
        r"nothing is done twice:\nthe file can be read no further: Stale file handle\n",
        printed,
    )
    done = json.loads(cli("import", str(file), *LINKS, "--json").stdout)
    assert done["known"] > 0
    assert done["accepted"] + done["known"] == lines


def test_a_file_as_it_is_needs_no_room_for_temporary_files(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    assert json.loads(cli("import", str(file), *LINKS, "--json").stdout)["accepted"] == 3
    piped = cli("import", "-", *LINKS, stdin=file.read_bytes(), code=Exit.USAGE).stderr
    assert "- cannot be read: No such file or directory." in piped


def test_where_there_is_no_room_is_named(cli: Cli, tmp_path: Path) -> None:
    content = b"parentid,childid\n" + b"1,2\n" * 100_000
    (tmp_path / "links.csv.gz").write_bytes(gzip.compress(content))
    room = f"File too large; what is piped or unpacked needs room in {tempfile.gettempdir()}, or where TMPDIR"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        for name, stdin in ((str(tmp_path / "links.csv.gz"), None), ("-", content)):
            assert room in cli("import", name, *LINKS, stdin=stdin, code=Exit.USAGE).stderr
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
