"""`relations import`: files as people have them, line by line into the inbox, and what is reported."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zipfile import ZipFile
from zoneinfo import ZoneInfo

import click
import pytest
from click.testing import CliRunner

from ops import samples
from ops.cli.commands.import_file import stop_by_signals
from ops.cli.errors import Exit
from ops.cli.import_steps.open_input import LOOK_AFTER, open_input
from ops.cli.import_steps.options import ImportOptions
from ops.cli.progress import ProgressLines
from ops.cli.root import main
from producers.portals.imports import TableOptions
from producers.portals.imports.unpack import OLD_EXCEL, PASSWORD
from tests.support.cli_runner import MISSING, Cli, run_when_accepted
from tests.support.old_spreadsheets import make_ods
from tests.support.spreadsheets import Failed, make_xlsx
from tests.support.waiting import HANGS_AFTER
from worker.errors import Invalid
from worker.ports.records import JobFilter
from worker.wiring import Runtime

LINKS = ("--set", "action=create", "--set", "relationtype=estate:address:buyer")


def jobs(runtime: Runtime) -> list[tuple[str, str, tuple[int, ...], tuple[int, ...]]]:
    """Return what was accepted, in order."""
    found = runtime.queries.find_jobs("acme", JobFilter(), limit=1000).entries
    return [(job.action, job.type, job.parents, job.children) for job in reversed(found)]


def test_the_examples_of_the_guide_are_command_lines() -> None:
    page = (
        (Path(__file__).parents[2] / "docs" / "how-to" / "import-csv.md")
        .read_text("utf-8")
        .replace("\\\n", "")
    )
    lines = re.findall(r"^relations (\w+) (.+)$", page, re.MULTILINE)
    assert len(lines) >= 4
    for name, words in lines:
        command = main.get_command(click.Context(main), name)
        command.make_context(name, shlex.split(words), **main.context_settings)


def pairs(runtime: Runtime) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(parents, children) for _, _, parents, children in jobs(runtime)]


@pytest.mark.parametrize(
    "text",
    [
        b"parentid,childid\n1,2\n3,4\n",
        b"childid;parentid\r\n2;1\r\n4;3\r\n",
        b"Parent ID\tChild ID\n1\t2\n\n3\t4",
        b"\xef\xbb\xbfparent|child\n1|2\n|\n3|4\n",
        b'sep=;\r\nparent_id;child_id\r\n"1";" 2 "\r\n3;4\r\n',
        "parent;child;Straße\n1;2;Königsallee\n3;4;x\n".encode("cp1252"),
        "parent\tchild\n1\t2\n3\t4\n".encode("utf-16"),
        b"parent;child\r1;2\r3;4\r",
        "parent\tchild\n1\t2\n3\t4\n".encode("utf-16-le"),
        b"Export vom 27.11.2026\n\nparent;child\n1;2\n3;4\n",
        b"parent;child\n1;\t2\n3,00;4.0\n",
        b'[{"parentid": 1, "childid": 2},\n {"parentid": 3.0, "childid": 4},]',
        b'parent,child,street\n1,2,"two\nlines"\n3,4,""\n',
        b'{"parentid": 1, "childid": 2}\n\n{"parentid": 3, "childid": 4}',
    ],
)
def test_a_file_means_the_same_however_it_was_saved(
    cli: Cli, runtime: Runtime, tmp_path: Path, text: bytes
) -> None:
    file = tmp_path / "links"
    file.write_bytes(text)
    more = [f"--map={name}=" for name in ("Straße", "street")]
    result = cli("import", str(file), *LINKS, *more)
    assert pairs(runtime) == [((1,), (2,)), ((3,), (4,))]
    assert "2 accepted, 0 known already, 0 rejected" in result.output
    assert not (tmp_path / "links.rejects.ndjson").exists()


def test_a_file_of_an_old_program_is_read_in_its_encoding(cli: Cli, runtime: Runtime) -> None:
    text = 'Käufer;parentid;Label\r9001;501;"Büro ""Süd"""\r9002;502;Ärzte\r'
    for name, count in (("mac_roman", 2), ("cp850", 4)):
        how = ("--map", "Käufer=childid", "--encoding", name)
        for expected in ("2 accepted, 0 known", "0 accepted, 2 known"):
            assert expected in cli("import", "-", *LINKS, *how, stdin=text.encode(name)).output
        jobs = runtime.queries.find_jobs("acme", JobFilter()).entries
        assert [job.batch for job in jobs] == ["Ärzte", 'Büro "Süd"'] * (count // 2)


def test_another_encoding_makes_other_lines_of_the_same_file(cli: Cli, runtime: Runtime) -> None:
    text = "parentid;childid;batch\n1;2;Bär\n".encode("cp850")
    for name in ("cp1252", "cp850"):
        cli("import", "-", *LINKS, "--encoding", name, stdin=text)
    assert [job.batch for job in runtime.queries.find_jobs("acme", JobFilter()).entries] == ["Bär", "B„r"]


@pytest.mark.parametrize("kind", ["csv", "json", "xlsx"])
def test_times_of_a_file_are_of_the_zone_that_is_said(cli: Cli, runtime: Runtime, kind: str) -> None:
    noon = datetime.combine(datetime.now(UTC) - timedelta(days=2), time(12))
    rows = [["parentid", "childid", "occurred_at"], [1, 2, f"{noon:%d.%m.%Y %H:%M}"]]
    table = "\n".join(";".join(map(str, row)) for row in rows).encode()
    line = json.dumps(dict(zip(*rows, strict=True))).encode()
    content = {"csv": table, "json": line, "xlsx": make_xlsx({"a": rows})}[kind]
    zones = ["Europe/Berlin", "America/New_York"]
    for name in (*zones, zones[0]):
        cli("import", "-", *LINKS, "--time-zone", name, stdin=content)
    jobs = reversed(runtime.queries.find_jobs("acme", JobFilter()).entries)
    expected = [noon.replace(tzinfo=ZoneInfo(name)).timestamp() for name in zones]
    assert [job.occurred_at / 1e6 for job in jobs] == expected
    refused = cli("import", "-", *LINKS, "--time-zone", "Mars/North", stdin=content, code=Exit.USAGE)
    assert '--time-zone: there is no time zone "Mars/North"' in refused.stderr


def test_an_encoding_is_of_texts_only(cli: Cli) -> None:
    how = ("import", "-", *LINKS, "--encoding")
    book = make_xlsx({"a": SHEET})
    refused = cli(*how, "cp850", stdin=book, code=Exit.FAILED).output
    assert "--encoding is for text, and this is a spreadsheet" in refused
    unknown = cli(*how, "ansi", stdin=TEXT, code=Exit.USAGE).output
    assert "'--encoding': there is no encoding \"ansi\"; there are utf-8, cp1252, mac_roman" in unknown


SHEET = [["Export vom 27.11.2026"], [], ["parentid", "childid"], [1, 2.0], ["3", "4"]]
TEXT = b"parentid,childid\n1,2\n3,4\n"


def make_zip(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def make_tar(content: bytes) -> bytes:
    packed, member = io.BytesIO(), tarfile.TarInfo("a.csv")
    member.size = len(content)
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def pack_layers(number: int) -> bytes:
    packed = TEXT
    for _ in range(number):
        packed = gzip.compress(packed)
    return packed


STORED = make_zip(a=TEXT)
FLAGS = re.compile(rb"(?:PK\x01\x02....|PK\x03\x04..)\0", re.DOTALL)  # of a member
ENCRYPTED, ENCRYPTED_SHEET = (
    FLAGS.sub(lambda found: found[0][:-1] + b"\1", plain) for plain in (STORED, make_ods([["a"]]))
)
ODS_WITH_PASSWORD = make_zip(
    **{
        "content.xml": b"\x8f\1",
        "META-INF/manifest.xml": b"<m:file-entry><m:encryption-data/></m:file-entry>",
    }
)
METHODS = re.compile(rb"(?:PK\x01\x02......|PK\x03\x04....)\0", re.DOTALL)
DEFLATE64, DEFLATE64_SHEET = (  # as Windows writes large archives
    METHODS.sub(lambda found: found[0][:-1] + b"\x09", plain) for plain in (STORED, make_ods([["a"]]))
)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(TEXT[:20]) + gzip.compress(TEXT[20:]),
        bz2.compress(TEXT),
        lzma.compress(TEXT),
        make_xlsx({"empty": [], "Käufer": SHEET}),
        gzip.compress(make_xlsx({"Käufer": SHEET})),
        make_zip(**{"folder/links.csv": TEXT, "__MACOSX/folder/._links.csv": b"x"}),
        make_zip(a=make_xlsx({"Käufer": SHEET})),
    ],
    ids=["gzip", "bzip2", "xz", "xlsx", "xlsx in gzip", "zip", "xlsx in zip"],
)
def test_a_file_may_be_compressed_or_a_spreadsheet(cli: Cli, runtime: Runtime, content: bytes) -> None:
    assert "2 accepted" in cli("import", "-", *LINKS, stdin=content).output
    assert pairs(runtime) == [((1,), (2,)), ((3,), (4,))]
    assert "2 known already" in cli("import", "-", *LINKS, stdin=content).output


def test_a_rejected_row_of_a_spreadsheet_has_its_number_there(cli: Cli, tmp_path: Path) -> None:
    book = make_xlsx({"a": [*SHEET, [1.5, "two\nlines"], [5, 6]], "b": SHEET})
    assert (
        '2 sheets are filled; say which with --sheet: "a", "b"'
        in cli("import", "-", *LINKS, stdin=book, code=Exit.FAILED).output
    )
    result = cli(
        "import", "-", *LINKS, "--sheet", "a", "--rejects", str(tmp_path / "r"), stdin=book, code=Exit.PARTLY
    )
    assert 'line 6: parentid: expected an id, a positive whole number, got "1.5"' in result.output


def test_a_row_whose_formula_has_failed_is_rejected_by_its_cell(cli: Cli, runtime: Runtime) -> None:
    rows = [
        ["parentid", "childid", "occurred_at", *[""] * 24, "label"],
        [1, 2],
        [3, Failed("#REF!")],
        [5, 6, Failed("#VALUE!")],
        [7, 8, *[""] * 25, Failed("#N/A")],
        [9, Failed("#DIV/0!"), Failed("#NAME?")],
    ]
    book = make_xlsx({"empty": [], "a": rows})
    output = cli("import", "-", *LINKS, stdin=book, code=Exit.PARTLY).output
    assert 'line 3: childid: column B shows an error of the spreadsheet, "#REF!"' in output
    assert 'line 4: occurred_at: column C shows an error of the spreadsheet, "#VALUE!"' in output
    assert 'line 5: batch: column AB shows an error of the spreadsheet, "#N/A"' in output
    assert "column B shows" in output.split("line 6: ")[1]
    assert "column C shows" in output.split("line 6: ")[1]
    assert "is required" not in output
    assert pairs(runtime) == [((1,), (2,))]


@pytest.mark.parametrize(
    "shown",
    [
        "#REF!",
        "#BEZUG!",
        "#NV",
        "#N/A",
        "#DIV/0!",
        "#NAME?",
        "#ÜBERLAUF!",
        "#########",
        "Err:502",
        "Fehler:502",
        "#GETTING_DATA",
        "#NOT CALCULATED!",
    ],
)
@pytest.mark.parametrize("column", ["childid", "batch", "occurred_at", "childid=address:email"])
def test_what_a_spreadsheet_shows_for_an_error_is_no_value(cli: Cli, column: str, shown: str) -> None:
    more = "" if column.startswith("childid") else ";childid"
    text = f"parentid;{column}{more}\n1;{shown}{more and ';2'}\n"
    refused = cli("import", "-", *LINKS, stdin=text.encode(), code=Exit.FAILED).output
    is_formula = shown == "#NOT CALCULATED!"
    said = (
        "has a formula that no program has worked out" if is_formula else "shows an error of the spreadsheet"
    )
    assert f'column B {said}, "{shown}"; ' in refused


@pytest.mark.parametrize("label", ["#1", "# new", "Err: none", "Fehler: 502", "#tag", "C#!", "##"])
def test_a_label_may_begin_as_an_error_does(cli: Cli, label: str) -> None:
    assert (
        "1 accepted"
        in cli("import", "-", *LINKS, stdin=f"parentid,childid,batch\n1,2,{label}\n".encode()).output
    )


def test_line_ends_in_a_cell_of_a_spreadsheet_are_blanks(cli: Cli, runtime: Runtime) -> None:
    cells = [
        ["parentid", "childid"],
        [5, "6_x000D_\n7_x000D_8"],
        [9, 10],
    ]  # as Excel writes a carriage return
    cli("import", "-", *LINKS, stdin=make_xlsx({"a": cells}))
    assert pairs(runtime) == [((5,), (6, 7, 8)), ((9,), (10,))]


def test_a_spreadsheet_without_its_library_is_named(
    cli: Cli, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    result = cli("import", "-", *LINKS, stdin=make_xlsx({"a": SHEET}), code=Exit.FAILED)
    assert "install `onoffice-relations[spreadsheets]`, or save it as CSV UTF-8" in result.output


def test_a_file_may_be_compressed_within_another(cli: Cli, runtime: Runtime) -> None:
    cli("import", "-", *LINKS, stdin=pack_layers(2))
    cli(
        "import", "-", *LINKS, "--batch", "again", stdin=make_zip(a=gzip.compress(bz2.compress(b"\n" + TEXT)))
    )
    assert pairs(runtime) == [((1,), (2,)), ((3,), (4,))] * 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(TEXT)[:-9], "its gzip data are cut or damaged"),
        (b"\x1f\x8bx", "its gzip data are cut or damaged"),
        (b"PK\x03\x04\x00", "a zip archive that cannot be unpacked: File is not a zip file; read one from"),
        (make_zip(a=TEXT, b=TEXT), "a zip archive that holds 2 files; read one from `unzip -p FILE NAME`"),
        (ENCRYPTED, "is protected by a password; read one from"),
        (DEFLATE64, "cannot be unpacked: That compression method is not supported; read one from"),
        (DEFLATE64_SHEET, "the spreadsheet cannot be read"),
        (ENCRYPTED_SHEET, "the spreadsheet is protected by a password; save it without one"),
        (ODS_WITH_PASSWORD, "the spreadsheet is protected by a password; save it without one"),
        (STORED.replace(b"childid", b"childie"), "its zip data are cut or damaged"),
        (b"PK\x03\x04[Content_Types].xml", "the spreadsheet cannot be read"),
        (b"%PDF-1.7", "a PDF document"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive; unpack it first"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive; unpack it first"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (gzip.compress(make_tar(TEXT)), "a tar archive; read one file from `tar -xOf FILE NAME`"),
        (pack_layers(4), "is compressed more than 3 times over; unpack it first"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html><table><tr><td>1", "HTML or XML, which some programs name .xls"),
        (b'<?xml version="1.0"?><Workbook/>', "HTML or XML"),
        (b"PK\x03\x04\x14\x00Index/Document.iwa", "a document of Numbers; export it as CSV"),
        (OLD_EXCEL + bytes(504) + PASSWORD, "is protected by a password; save it without one"),
    ],
    ids=[
        "cut",
        "damaged",
        "zip",
        "two",
        "encrypted",
        "deflate64",
        "sheet in deflate64",
        "encrypted sheet",
        "ods with password",
        "changed",
        "broken",
        "pdf",
        "rar",
        "7z",
        "picture",
        "tar",
        "layers",
        "html",
        "xml",
        "numbers",
        "password",
    ],
)
def test_a_file_that_holds_no_text_is_named(cli: Cli, content: bytes, words: str) -> None:
    assert words in cli("import", "-", *LINKS, stdin=content, code=Exit.FAILED).output


def test_a_cell_may_hold_several_ids_and_a_line_overrules_the_options(cli: Cli, runtime: Runtime) -> None:
    text = (
        b"verb,type,building,unit,statusTerminbestaetigung\n"
        b"Delete,,7,8 9,\nmodify,calendar:address,2,3;4,gesendet\n"
    )
    cli("import", "-", *LINKS, "--map", "building=parentid", "--map", "unit=childid", stdin=text)
    assert jobs(runtime) == [
        ("delete", "estate:address:buyer", (7,), (8, 9)),
        ("modify", "calendar:address", (2,), (3, 4)),
    ]


def test_every_line_is_rejected_by_itself_with_its_reason_and_its_own_words(
    cli: Cli, runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "links.csv"
    file.write_bytes(b'parentid,childid\n1,2\n1.234,5\n3\nx,4\n0,4\n3,4,5\n5,"6\n7"\n8,9\n')
    result = cli("import", str(file), *LINKS, code=Exit.PARTLY)
    rejects = [
        json.loads(line) for line in (tmp_path / "links.csv.rejects.ndjson").read_text("utf-8").splitlines()
    ]
    assert [(each["line"], each["text"], each["faults"][0]["path"]) for each in rejects] == [
        (3, "1.234,5", "parentid"),
        (4, "3", ""),
        (5, "x,4", "parentid"),
        (6, "0,4", "parentid"),
        (7, "3,4,5", ""),
    ]
    assert "without thousands separators, 1234" in rejects[0]["faults"][0]["message"]
    assert "expected 2 cells as in the header, got 1" in rejects[1]["faults"][0]["message"]
    assert pairs(runtime) == [((1,), (2,)), ((5,), (6, 7)), ((8,), (9,))]
    assert "3 accepted, 0 known already, 5 rejected" in result.output


def test_a_quote_left_open_costs_what_it_swallows_and_is_named(
    cli: Cli, runtime: Runtime, tmp_path: Path
) -> None:
    result = cli(
        "import",
        "-",
        *LINKS,
        "--rejects",
        str(tmp_path / "r"),
        stdin=b'parentid,childid\n1,2\n"3,4\n5,6\n',
        code=Exit.PARTLY,
    )
    assert pairs(runtime) == [((1,), (2,))]
    assert "is a quotation mark left open?" in result.output


def test_what_the_store_refuses_costs_its_line_only(cli: Cli, runtime: Runtime, tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_bytes(b"parentid,childid,event_id\n1,2,a\n")
    second.write_bytes(b"account,parentid,childid,event_id\n,1,2,a\n,3,4,a\n,5,6,b\nnobody,5,6,c\n")
    cli("import", str(first), *LINKS)
    result = cli("import", str(second), *LINKS, code=Exit.PARTLY)
    assert "1 accepted, 1 known already, 2 rejected" in result.output
    assert pairs(runtime) == [((1,), (2,)), ((5,), (6,))]
    rejects = [
        json.loads(line) for line in (tmp_path / "second.csv.rejects.ndjson").read_text("utf-8").splitlines()
    ]
    assert [(each["line"], each["faults"][0]["path"]) for each in rejects] == [
        (3, "event_id"),
        (5, "account"),
    ]


def test_the_same_import_again_goes_on_and_does_nothing_twice(
    cli: Cli, runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "links.csv"
    file.write_text("parentid,childid\n" + "".join(f"1,{n}\n" for n in range(1, 2501)))
    cli("import", str(file), *LINKS)
    again = cli("import", str(file), *LINKS)
    assert "0 accepted, 2,500 known already" in again.output
    assert runtime.store.counts("acme")["accepted"] == 2500
    piped = cli("import", "-", *LINKS, stdin=file.read_bytes())
    assert "2,500 known already" in piped.output
    meant = cli("import", str(file), "--set", "action=delete", "--set", "relationtype=estate:address:buyer")
    assert "2,500 accepted" in meant.output  # the same lines read as something else are other changes


def test_a_file_of_changes_is_the_same_jobs_whether_it_was_sent_or_imported(
    cli: Cli, runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "links.ndjson"
    file.write_bytes(
        b'{"action": "create", "relationtype": "estate:address:buyer", "parentid": 1, "childid": 2}\n'
    )
    cli("send", str(file))
    assert "0 accepted, 1 known already" in cli("import", str(file)).output
    assert len(jobs(runtime)) == 1


def test_two_lines_that_make_each_the_others_parent_are_rejected_and_name_each_other(
    cli: Cli, runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "units.csv"
    near = "7,8\n1,1\n8,7\n7,8\n" + "".join(f"500,{n}\n" for n in range(10_000, 11_000)) + "10000,500\n"
    file.write_text("parentid,childid\n" + near)
    cli(
        "import",
        str(file),
        "--set",
        "action=create",
        "--set",
        "relationtype=estate:estateUnit",
        code=Exit.PARTLY,
    )
    rejects = [
        json.loads(line) for line in (tmp_path / "units.csv.rejects.ndjson").read_text("utf-8").splitlines()
    ]
    named = {each["line"]: int(each["faults"][0]["message"].split()[1]) for each in rejects}
    assert named == {
        2: 4,
        4: 5,
        5: 4,
        1006: 6,
    }  # the last one's partner was in an earlier piece, and accepted
    assert runtime.store.counts("acme")["accepted"] == 1001


def test_all_faults_of_a_header_are_printed_and_nothing_is_sent(cli: Cli, runtime: Runtime) -> None:
    result = cli(
        "import",
        "-",
        "--set",
        "action=create",
        stdin=b"parentid,chldid,parent,note\n1,2,3,4\n",
        code=Exit.FAILED,
    )
    for words in (
        '"chldid" is not known; did you mean childid?',
        '--map "note="',
        "parentid stands in several",
        "no column for relationtype",
    ):
        assert words in result.output
    assert jobs(runtime) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [(b"[1]", 'expected objects, got "1"'), (b"a\x81\xff\n", "Windows-1252")],
)
def test_what_is_no_import_fails_and_says_why(cli: Cli, text: bytes, words: str) -> None:
    assert words in cli("import", "-", *LINKS, stdin=text, code=Exit.FAILED).output


@pytest.mark.parametrize(
    "words",
    [("--map", "x=nothing"), ("--set", "nothing=1"), ("--set", "action"), ("--url", "http://127.0.0.1:1")],
)
def test_options_that_mean_nothing_are_named(cli: Cli, words: tuple[str, ...]) -> None:
    cli("import", "-", *words, stdin=b"", code=Exit.USAGE, RELATIONS_KEY="")


def test_a_file_that_is_not_there_is_a_fault_of_the_command_line(cli: Cli) -> None:
    for path in ("/nowhere.csv", "~/units.csv", "https://example.test/units.csv"):
        assert f"{path} cannot be read: No such file" in cli("import", path, code=Exit.USAGE).output


def test_waiting_ends_with_what_became_of_every_job(
    cli: Cli, runtime: Runtime, drain: Callable[[], None], tmp_path: Path
) -> None:
    file = tmp_path / "links.csv"
    file.write_text(f"parentid,childid\n1,2\n1,{MISSING}\n1,3\n")
    with ThreadPoolExecutor() as pool:
        worked = pool.submit(run_when_accepted, runtime, 3, drain)
        answer = json.loads(cli("import", str(file), *LINKS, "--wait", "--json", code=Exit.PARTLY).stdout)
        worked.result()
    (batch,) = answer["batches"]
    assert (batch["accepted"], batch["open"], batch["succeeded"], batch["failed"]) == (3, 0, 2, 1)
    assert answer["batch"].startswith("links.csv-")
    assert json.loads(cli("batch", answer["batch"], "--json").stdout) == batch
    assert cli("batch", answer["batch"]).stdout == "3 accepted: 2 succeeded, 1 failed\n"
    cli("batch", "another", code=Exit.NOT_FOUND)


def test_a_dry_run_prints_the_cost_and_writes_nothing(cli: Cli, runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "new-build.csv"
    file.write_bytes((samples.FOLDER / "05-new-build.csv").read_bytes() + b"create,estate:estateUnit,x,1\n")
    answer = json.loads(cli("import", str(file), "--dry-run", "--json", code=Exit.PARTLY).stdout)
    (cost,) = answer["accounts"]
    assert (cost["changes"], cost["actions"], cost["requests"]) == (127, 4, 2)
    assert answer["rejected"] == 3  # one is nonsense, and two name the same two ids the other way round
    assert jobs(runtime) == []
    assert "AT ITS PACE" in cli("import", str(file), "--dry-run", code=Exit.PARTLY).output


def test_progress_is_a_line_now_and_then_and_nothing_before() -> None:
    times = iter([0.0, 1.0, 6.0, 7.0, 12.0])
    stderr = CliRunner().invoke(report_steps(times, [10, 600, 700, 1200])).stderr
    assert stderr == "import: 600 of 2,000, 100/s, 14 s left\nimport: 1,200 of 2,000, 100/s, 8 s left\n"


def report_steps(times: Iterator[float], steps: list[int]) -> click.Command:
    @click.command()
    def run() -> None:
        report = ProgressLines("import", 2000, clock=lambda: next(times))
        for done in steps:
            report(done)

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_prints_how_to_go_on_and_going_on_does_the_rest(
    cli: Cli,
    env: dict[str, str],
    runtime: Runtime,
    drain: Callable[[], None],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    config = Path(env["RELATIONS_CONFIG"])
    config.write_text(config.read_text().replace("[defaults]", "[defaults]\nmax_backlog = 1000"))
    lines = "".join(f"1,{n}\n" for n in range(1, 1501))
    (tmp_path / "links.csv").write_text(f"parentid,childid\nx,1\n{lines}")
    words = ["import", str(tmp_path / "links.csv"), *LINKS]
    command = [sys.executable, "-m", "ops.cli", *words]
    with subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True) as process:
        run_when_accepted(
            runtime, 999, lambda: process.send_signal(number)
        )  # it waits for the inbox to have room again
        stderr = process.communicate(timeout=HANGS_AFTER)[1]
    assert process.returncode == Exit.INTERRUPTED
    assert "The same command goes on; nothing is done twice." in stderr
    assert json.loads((tmp_path / "links.csv.rejects.ndjson").read_text())["text"] == "x,1"
    assert not list(tmp_path.glob(".rejects-*"))
    drain()
    assert "501 accepted, 999 known already" in cli(*words, code=Exit.PARTLY).output


def test_an_ignored_hang_up_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` starts a program
    try:
        with stop_by_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


# --- files that are large, or not whole


@pytest.mark.parametrize("more", [b"7,8\n", b"\xff\n", b"{}\n" * 9])
def test_a_file_that_is_written_to_while_it_is_read_is_refused(tmp_path: Path, more: bytes) -> None:
    file = tmp_path / "links.csv"
    lines = LOOK_AFTER * 3
    file.write_text("parentid,childid\n" + "1,2\n" * lines)
    constants = {"action": "create", "relationtype": "estate:address:buyer"}
    options = ImportOptions(TableOptions(constants=constants), "acme", None, "", "")
    with open_input(str(file), options) as opened:
        next(opened.rows)
        with file.open("ab") as appended:
            appended.write(more)
        with pytest.raises(Invalid, match="the file was written to while it was read"):
            assert len(list(opened.rows)) < lines
    with open_input(str(file), options) as again:
        assert again.defaults.digest != opened.defaults.digest


def test_the_first_look_at_a_large_file_is_shown(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.cli.progress.INTERVAL", 0.0)
    monkeypatch.setattr("ops.cli.import_steps.open_input.LARGE", 2**21)
    lines = "1;2;" + "x" * 1000 + "\n"
    (tmp_path / "large.csv").write_text("parentid;childid;note\n" + lines * 3000)
    how = ("import", "large.csv", *LINKS, "--map", "note=", "--dry-run")
    printed = cli(*how).stderr
    assert re.search(r"^bytes read: 1,048,576 of 3,0\d\d,\d\d\d, ", printed, re.MULTILINE)
    assert re.search(r"^check: 2,001 of 3,002, ", printed, re.MULTILINE)
    assert "bytes read" not in cli(*how, "--json").stderr
