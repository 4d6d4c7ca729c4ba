"""The files of an import: none is lost, whatever is named as rejects, and streams are files too."""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from threading import Thread

import pytest

from ops.cli.errors import Exit
from tests.support.cli_runner import Cli
from worker.wiring import Runtime

LINKS = ("--set", "action=create", "--set", "type=estate:address:buyer")
GOOD, BAD = b"parentid,childid\n1,2\n3,4\n", b"parentid,childid\n1,2\nx,4\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "links.csv"
    file.write_bytes(BAD)
    return file


def accepted(runtime: Runtime) -> int:
    return runtime.store.counts("acme").get("accepted", 0)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize("link", [lambda path, file: None, Path.symlink_to, Path.hardlink_to])
def test_the_file_that_is_read_is_never_written(
    cli: Cli, runtime: Runtime, file: Path, link: object, more: tuple[str, ...]
) -> None:
    named = file if link not in (Path.symlink_to, Path.hardlink_to) else file.with_name("named")
    link(named, file)
    assert (
        "that is the file to import"
        in cli("import", str(file), *LINKS, "--rejects", str(named), *more, code=Exit.USAGE).output
    )
    assert (file.read_bytes(), named.read_bytes(), accepted(runtime)) == (BAD, BAD, 0)


def test_standard_input_is_the_file_it_comes_from(env: dict[str, str], file: Path) -> None:
    command = [sys.executable, "-m", "ops.cli", "import", "-", *LINKS, "--dry-run", "--rejects", str(file)]
    with file.open() as stdin:
        assert subprocess.run(command, stdin=stdin, env={**os.environ, **env}).returncode == Exit.USAGE
    assert file.read_bytes() == BAD


def test_a_dash_is_no_file_of_rejected_lines(cli: Cli, file: Path, tmp_path: Path) -> None:
    refused = cli("import", str(file), *LINKS, "--rejects", "-", code=Exit.USAGE).output
    assert "/dev/stdout prints them" in refused
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize(
    "words", [b"precious", b'{"parentid": 1}\n', b"[1, 2]", b'"text"', b"\xff\xfe", b"[" * 100_000]
)
def test_a_file_that_is_none_of_rejected_lines_stays(
    cli: Cli, runtime: Runtime, file: Path, words: bytes
) -> None:
    other = file.with_name("other")
    other.write_bytes(words)
    assert (
        "is not one of rejected lines"
        in cli("import", str(file), *LINKS, "--rejects", str(other), code=Exit.USAGE).output
    )
    assert (other.read_bytes(), accepted(runtime)) == (words, 0)


def test_the_rejects_of_an_earlier_import_are_replaced_by_others_only(cli: Cli, file: Path) -> None:
    rejects = file.with_name("links.csv.rejects.ndjson")
    rejects.write_text("")
    cli("import", str(file), *LINKS, code=Exit.PARTLY)
    before = rejects.read_bytes()
    file.write_bytes(GOOD)
    cli("import", str(file), *LINKS)
    assert rejects.read_bytes() == before
    file.write_bytes(BAD + b"y,4\n")
    cli("import", str(file), *LINKS, code=Exit.PARTLY)
    assert [json.loads(line)["line"] for line in rejects.read_bytes().splitlines()] == [3, 4]
    assert sorted(path.name for path in file.parent.glob("*rejects*")) == [rejects.name]


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_rejected_lines_that_are_not_printed_are_mentioned_with_their_file(
    cli: Cli, file: Path, more: tuple[str, ...]
) -> None:
    rejects = file.with_name("links.csv.rejects.ndjson")
    for count, is_cut in ((10, False), (11, True), (30, True)):
        file.write_text("parentid,childid\n1,2\n" + "".join(f"x{n},1\n" for n in range(count)))
        output = cli("import", str(file), *LINKS, *more, code=Exit.PARTLY).output
        assert output.count("line ") == min(count, 10)
        assert (f"More lines are rejected than are printed here; all go to {rejects}." in output) == is_cut
        assert f"Rejected lines, each with its reason: {rejects}" in output
        assert len(rejects.read_bytes().splitlines()) == count
    document = json.loads(cli("import", str(file), *LINKS, *more, "--json", code=Exit.PARTLY).stdout)
    assert document["rejects"] == str(rejects)


def test_a_link_to_the_rejects_stays_a_link(cli: Cli, file: Path) -> None:
    link, target = file.with_name("link"), file.with_name("target")
    target.write_text("")
    link.symlink_to(target)
    cli("import", str(file), *LINKS, "--rejects", str(link), code=Exit.PARTLY)
    assert link.is_symlink()
    assert b"x,4" in target.read_bytes()


@pytest.mark.parametrize("path", ["folder", "nowhere/rejects", "links.csv/rejects"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_rejects_that_cannot_be_written_stop_it_before_anything_is_sent(
    cli: Cli, runtime: Runtime, file: Path, path: str, more: tuple[str, ...]
) -> None:
    file.with_name("folder").mkdir()
    result = cli("import", str(file), *LINKS, "--rejects", str(file.parent / path), *more, code=Exit.USAGE)
    assert result.output.count("Error: ") == 1
    assert accepted(runtime) == 0


def test_a_folder_in_the_place_of_the_rejects_stops_it_too(cli: Cli, runtime: Runtime, file: Path) -> None:
    file.with_name("links.csv.rejects.ndjson").mkdir()
    assert "it is a directory" in cli("import", str(file), *LINKS, code=Exit.USAGE).output
    assert accepted(runtime) == 0


def test_a_disk_that_is_full_ends_it_with_one_error(cli: Cli, file: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    result = cli("import", str(file), *LINKS, "--rejects", "/dev/full", code=Exit.FAILED)
    assert "rejected lines cannot be written to /dev/full: No space left on device" in result.output


def test_a_pipe_is_a_file(cli: Cli, runtime: Runtime, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_bytes, args=(GOOD,))
    writer.start()
    cli("import", str(pipe), *LINKS)
    writer.join()
    assert "2 known already" in cli("import", "-", *LINKS, stdin=GOOD).output


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0"])
def test_a_stream_may_go_by_a_name_of_the_system(env: dict[str, str], tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-m", "ops.cli", "import", name, *LINKS, "--dry-run", "--json"]
    done = subprocess.run(
        command, input=BAD, env={**os.environ, **env}, cwd=tmp_path, stdout=subprocess.PIPE, check=False
    )
    assert json.loads(done.stdout)["rejected"] == 1
    assert (tmp_path / "stdin.rejects.ndjson").exists()


def test_a_name_that_cannot_be_printed_is_no_label_that_is_refused(
    cli: Cli, runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "a\tb\udcff.csv"
    file.write_bytes(GOOD)
    assert "2 accepted" in cli("import", str(file), *LINKS).output


@pytest.mark.skipif(not which("jq"), reason="the guide's line needs jq")
def test_rejected_lines_mended_in_a_file_of_their_own_are_imported_alone(
    cli: Cli, runtime: Runtime, file: Path
) -> None:
    file.write_bytes(b'parentid,childid,note\n1,2,a\nx,4,b\n5,6,c\ny,8,"two\nlines"\n')
    more = (*LINKS, "--map", "note=")
    cli("import", str(file), *more, code=Exit.PARTLY)
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "import-csv.md").read_text("utf-8")
    (recipe,) = [line for line in page.splitlines() if line.endswith("> mended.csv")]
    mended = file.with_name("mended.csv")
    subprocess.run(recipe.replace("units", "links"), shell=True, cwd=file.parent, check=True)
    mended.write_text(mended.read_text().replace("x,", "3,").replace("y,", "7,"))
    assert "2 accepted, 0 known already, 0 rejected" in cli("import", str(mended), *more).output
    assert accepted(runtime) == 4
