"""Reading tables: the messages of their rows, and the faults of rejected ones. Pure, without a store."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from io import BytesIO, StringIO, TextIOWrapper
from itertools import product
from typing import Any
from zipfile import ZipFile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.portals.imports import (
    InputRow,
    LoadCounts,
    RowDefaults,
    RowLoader,
    TableOptions,
    detect_format,
    find_encoding,
    find_field,
    find_zone,
    read_rows,
    unpack_text,
    write_offset,
)
from producers.portals.imports.columns import ALIASES, FIELDS, normalize
from worker.contract import TYPES
from worker.errors import Fault, Invalid

LINK = {"action": "create", "relationtype": "estate:address:buyer"}
HEAD = "parentid;childid"


def read(text: str, mapping: dict[str, str] | None = None, **constants: str) -> list[InputRow]:
    return list(read_rows(StringIO(text, newline=""), TableOptions(mapping or {}, {**LINK, **constants})))


def read_ids(text: str, **mapping: str) -> list[tuple[Any, Any]]:
    """Return parent and child of every valid row."""
    return [
        (row.message["parentid"], row.message["childid"])
        for row in read(text, mapping)
        if row.message and not row.faults
    ]


def rejected(text: str, **mapping: str) -> list[tuple[InputRow, Sequence[Fault]]]:
    """Return the rows that an import rejects, each with its faults."""
    found = list[tuple[InputRow, Sequence[Fault]]]()
    loader = RowLoader(
        RowDefaults("d", "acme", "b"), lambda row, faults: found.append((row, faults)), LoadCounts()
    )
    list(loader.parse(read(text, mapping)))
    return found


def header_faults(text: str, mapping: dict[str, str] | None = None) -> str:
    with pytest.raises(Invalid) as refused:
        read(text, mapping)
    return str(refused.value)


# --- what shows nothing


INVISIBLE = "\ufeff\u200b\u200e\u00ad\u202a\u202c\u2060"


def test_what_shows_nothing_does_not_count_around_a_name_or_a_value() -> None:
    for mark in (INVISIBLE, *INVISIBLE, "\u00a0\u200b\u00a0"):
        head = f"{mark}parent{mark}id;childid{mark};batch"
        text = f"{head}\n{mark}1{mark};2{mark};{mark}Ö-{mark}x{mark}\n3;4;{mark}\n"
        first, second = read(f"\ufeff{text}")
        assert first.message == {**LINK, "parentid": 1, "childid": 2, "batch": f"Ö-{mark}x"}
        assert (second.message, second.faults) == ({**LINK, "parentid": 3, "childid": 4}, [])
        assert [row.message for row in read(text, {"child id": "childid"})] == [first.message, second.message]


# --- columns without a name


@pytest.mark.parametrize("row", ["1;2", "1;2;", "1;2;;", "1;2;;;;", "1;2; ;"])
@pytest.mark.parametrize("head", [HEAD, f"{HEAD};", f"{HEAD};; "])
def test_a_column_without_a_name_is_ignored_while_its_cells_are_empty(head: str, row: str) -> None:
    assert read_ids(f"{head}\n{row}\n") == [(1, 2)]


def test_a_value_in_a_column_without_a_name_rejects_its_row_only() -> None:
    text = "parentid;;childid;;\n1;;2;;\n1;x;2;;\n1;;2;;y\n1;;2;;;z\n3;;4\n"
    assert read_ids(text) == [(1, 2), (3, 4)]
    assert [(row.line, str(faults[0])) for row, faults in rejected(text)] == [
        (3, 'column 2 has no name in the header, but this line says "x" in it'),
        (4, 'column 5 has no name in the header, but this line says "y" in it'),
        (5, "expected 3 cells as in the header, got 6"),
    ]


# --- the header


@pytest.mark.parametrize("before", ["", "sep=;\n\n"])
@pytest.mark.parametrize("head", ['"Parent\nID";childid\n', '"Parent\r\nID";"child\n\nid"\r\n'])
def test_a_line_break_in_a_quoted_header_is_a_blank(before: str, head: str) -> None:
    (row,) = read(f"{before}{head}1;2\n")
    assert (row.line, row.text, row.message) == (
        (before + head).count("\n") + 1,
        "1;2",
        {**LINK, "parentid": 1, "childid": 2},
    )


@pytest.mark.parametrize("delimiter", ["^", ":", "\t", ";"])
def test_the_delimiter_that_excel_names_is_used(delimiter: str) -> None:
    assert read_ids(f"sep={delimiter}\nparentid{delimiter}childid\n1{delimiter}2\n") == [(1, 2)]


@pytest.mark.parametrize("text", ["", "\n\n", "sep=;", "sep=;\n\n", f"{HEAD}\n"])
def test_a_file_without_rows_yields_nothing(text: str) -> None:
    assert read(text) == []


def test_a_header_with_a_quote_left_open_is_refused() -> None:
    assert "header: has no names that can be read; is a quotation mark left open?" in header_faults(
        '"parentid;childid\n1;2\n'
    )


def test_mapping_a_column_that_does_not_exist_names_those_that_do() -> None:
    assert 'there is no column "unit", as --map says; there are parentid, childid' in header_faults(
        f"{HEAD}\n1;2\n", {"unit": "childid"}
    )
    assert read_ids(f"{HEAD}\n1;2\n", note="") == [(1, 2)]  # to leave out what is not there does no harm
    assert "these are lines of JSON" in header_faults("{}", {"unit": "childid"})


@pytest.mark.parametrize(
    "title", ["Export vom 27.11.2026", "Export;27.11.2026", '"Käufer\nund andere"', "a\n\nb"]
)
def test_a_title_above_a_header_without_fault_is_passed_over(title: str) -> None:
    (row,) = read(f"{title}\n\n{HEAD}\n1;2\n")
    assert (row.line, row.message) == (title.count("\n") + 4, {**LINK, "parentid": 1, "childid": 2})


def test_the_line_of_the_header_can_be_said() -> None:
    text = "Käufer;id\nparentid;note\nparentid;Kunde\n1;2\n"
    assert 'column "Käufer" is not known' in header_faults(text)
    options = TableOptions({"Kunde": "childid"}, LINK, header_row=3)
    assert [row.line for row in read_rows(StringIO(text, newline=""), options)] == [4]
    assert "names stand in a later line" in header_faults("Export\nparentid;x\n1;2\n")


def test_a_file_without_a_header_is_refused() -> None:
    remedy = "put a line of names above it, such as action, relationtype, parentid, childid"
    for line in ("501;9001", "create;estate:address:buyer;501;9001"):
        problem = f'header: is missing, for the first line is data, "{line}"; {remedy}'
        assert header_faults(f"{line}\n502;9002\n") == problem


PANDAS = ",parentid,childid\n0,501,9001\n1,502,9002\n"
R = '"parentid" "childid"\n"1" 501 9001\n"2" 502 9002\n'.replace(" ", "\t")


@pytest.mark.parametrize("text", [PANDAS, R, PANDAS.replace("\n1,", "\n7,")])
def test_a_first_column_that_counts_the_lines_is_left_out(text: str) -> None:
    options = TableOptions(constants=LINK, has_index="\n7," in text)
    rows = list(read_rows(StringIO(text, newline=""), options))
    assert [row.message for row in rows] == [
        {**LINK, "parentid": parent, "childid": child} for parent, child in ((501, 9001), (502, 9002))
    ]
    assert not any(row.faults for row in rows)


def test_a_first_column_that_may_say_something_is_a_fault_with_its_remedy() -> None:
    for text in (PANDAS.replace("\n1,", "\n7,"), "parentid,childid\n1,501,9001\n"):
        assert all("--index leaves it out" in str(faults[0]) for _, faults in rejected(text))


@pytest.mark.parametrize("gap", ["nan", "NaN", "NULL", "None", "<NA>", "\\N", ""])
def test_a_cell_without_a_value_is_no_label(gap: str) -> None:
    head = "parentid;childid;batch;event_id;occurred_at;statusTerminbestaetigung\n"
    assert [row.message for row in read(f"{head}1;2{f';{gap}' * 4}\n")] == [
        {**LINK, "parentid": 1, "childid": 2}
    ]
    assert "expected an id" in str(rejected(f"{HEAD}\n1;{gap or 'x'}\n")[0][1])


def test_a_cell_that_may_be_a_value_or_none_is_a_fault() -> None:
    ((_, (fault,)),) = rejected("parentid;childid;batch\n1;2;NA\n1;2;NAB\n")
    assert str(fault) == 'batch: "NA" may be a value or stand for none; leave the cell empty if it does'


def test_every_column_name_and_alias_is_found_as_a_field() -> None:
    assert {find_field(name) for name in FIELDS} == set(FIELDS)
    assert all(find_field(alias) == field for field, aliases in ALIASES.items() for alias in aliases)
    assert all(normalize(alias) == alias for aliases in ALIASES.values() for alias in aliases)


# --- rows


def test_a_rejected_row_has_all_its_faults() -> None:
    ((_, faults),) = rejected("action;type;parentid;childid;occurred_at\nmake;estate;x y;1.234;yesterday\n")
    assert [fault.path for fault in faults] == [
        "parentid",
        "parentid",
        "childid",
        "action",
        "relationtype",
        "occurred_at",
    ]


def test_a_missing_id_is_a_fault_and_no_fault_is_named_twice() -> None:
    ((_, faults),) = rejected(f"{HEAD}\n;x\n")
    assert [fault.path for fault in faults] == ["childid", "parentid"]


@pytest.mark.parametrize(
    "cell", ["9" * 5000, "9" * 200_000, "1.234" + ".567" * 3000, "x" * 90_000, " ".join("x" * 500), "٣", "²"]
)
def test_a_cell_that_is_no_id_is_a_short_fault(cell: str) -> None:
    ((_, faults),) = rejected(f"{HEAD}\n1;{cell}\n")
    assert 0 < len(faults) <= 101
    assert max(len(str(fault)) for fault in faults) < 300


@pytest.mark.parametrize(
    "cell", ["501.0", "501,0", "501,00", "501.0000", "\t501", " 501 ", "0501", '="501"', "'501"]
)
def test_a_whole_number_is_an_id_however_a_program_wrote_it(cell: str) -> None:
    assert read_ids(f"{HEAD}\n1;{cell}\n") == [(1, 501)]
    assert read_ids(f"{HEAD}\n1;501.0 502.0\n") == [(1, [501, 502])]


@pytest.mark.parametrize("cell", ["[501, 502]", "{501,502}", "[501.0,502.0]", "[ 501;  502 ]"])
def test_a_list_is_read_as_programs_write_it_into_a_cell(cell: str) -> None:
    assert read_ids(f'{HEAD}\n1;"{cell}"\n') == [(1, [501, 502])]
    assert read_ids(f"{HEAD}\n1;[501]\n") == [(1, 501)]


@pytest.mark.parametrize(
    "cell", ["[]", "[501", "[501, [502]]", "[501, x]", "(501)", "[501 502]", "{501}{502}"]
)
def test_what_only_looks_like_a_list_of_ids_is_a_fault(cell: str) -> None:
    assert rejected(f'{HEAD}\n1;"{cell}"\n')


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("501.5", 'expected an id, a positive whole number, got "501.5"'),
        ("501,000", '"501,000" may be the id 501 or the id 501000; write it in digits alone'),
        (
            "85,5",
            '"85,5" may be a number with decimals, which is no id, or the ids 85, 5; write 85|5 for those',
        ),
        ("350000,50", "or the ids 350000, 50"),
        ("4629 | 85,5", '"85,5" may be a number with decimals'),
        ("501,0|502,00", 'got "501,0": write a number without decimals, 501'),  # 0 is no id
        ("1,234|5,678", 'got "1,234": write a number without thousands separators, 1234'),
        ("501,05", "or the ids 501, 05"),
        ("48,0123", "or the ids 48, 0123"),
        ("1,23E+05", "its digits are lost: in the spreadsheet, format the column as a number"),
        ("1.2e3", "its digits are lost"),
        ("1.234,00", "without thousands separators, 1234"),
        ("0", "expected a positive integer or an array of them, got 0"),
        ("9007199254740993", "expected an integer below 2**53"),
        ("9007199254740993.0", "expected an integer below 2**53"),
    ],
)
def test_a_number_that_is_none_or_may_be_another_is_a_fault_by_name(cell: str, reason: str) -> None:
    ((_, faults),) = rejected(f"{HEAD}\n1;{cell}\n")
    assert reason in str(faults[0])


@pytest.mark.parametrize("mark", ["\u00a0", "\u202f", "\u2009", "\u2007", "\u3000"])
def test_a_blank_that_groups_digits_separates_no_ids(mark: str) -> None:
    (row,) = read(f"{HEAD}\n1;4{mark}629\n")
    assert "write a number without thousands separators, 4629" in str(row.faults)
    assert read_ids(f"{HEAD}\n1;4{mark}629\n1;9001{mark}9002\n1;{mark}501{mark}\n") == [(1, 501)]


@pytest.mark.parametrize(
    ("cell", "readings"),
    [
        ("4 629", "the id 4629 or the ids 4, 629; write 4629 or 4|629"),
        ("501 502", "the id 501502 or the ids 501, 502; write 501502 or 501|502"),
        ("9001 12 345 678", "the id 12345678 or the ids 12, 345, 678; write 12345678 or 12|345|678"),
        ("1" + " 234" * 300, "the ids 1, 234, 234, 234, 234, …"),
    ],
)
def test_a_blank_that_may_group_digits_is_a_fault_that_names_both_readings(cell: str, readings: str) -> None:
    ((_, (fault,)),) = rejected(f"{HEAD}\n1;{cell}\n")
    assert readings in str(fault)
    assert len(str(fault)) < 300


@pytest.mark.parametrize(
    "cell",
    [
        "501|502",
        "501, 502",
        "501  502",
        "501\t502",
        "8 9",
        "9001 9002",
        "4 5678",
        "4629,5012",
        "85|5",
        "85, 5",
    ],
)
def test_ids_between_separators_that_can_be_nothing_else_are_several(cell: str) -> None:
    (row,) = read(f'{HEAD}\n1;"{cell}"\n')
    assert row.message is not None
    assert len(row.message["childid"]) == 2


@pytest.mark.parametrize("many", [3, 3500, 40_000])
def test_a_quote_left_open_names_and_counts_the_lines_that_are_lost_with_it(many: int) -> None:
    text = f'{HEAD}\n1;2\n3;"4\n' + "".join(f"{n};{n + 1};a description\n" for n in range(1, many))
    swallowed = next(row for row, _ in rejected(text))
    assert (swallowed.line, swallowed.text.count("\n") + 1) == (3, swallowed.lines)
    assert f"is a quotation mark left open? Lines 3 to {swallowed.lines + 2:,} are rejected with it" in str(
        swallowed.faults
    )
    assert swallowed.lines > min(many, 3000) - 1


@pytest.mark.parametrize(
    "lines", ['1;"2;x\n3;4;y\n5";6\n', '1;"2\n3;4\n5";6\n', '1;"2\nx\n5";6\n', '1;"2\n3;4\n5"\n']
)
def test_a_quote_that_a_later_line_closes_names_its_lines_too(lines: str) -> None:
    ((row, faults),) = rejected(f"{HEAD};note\n{lines}7;8;z\n", note="")
    assert (row.line, row.lines) == (2, 3)
    assert "Lines 2 to 4 are rejected with it" in str(faults)


def test_a_line_that_is_too_long_is_rejected_whole_and_the_next_is_read() -> None:
    for size, ends in product((2**20 - 3, 2**20, 2**20 + 1, 2**21 + 1), ("\n", "\r\n")):
        text = f"{HEAD};note\n1;2;{';' * size}{ends}3;4;x{ends}"
        assert [(row.line, len(row.text) <= 2**20) for row, _ in rejected(text, note="")] == [(2, True)]
        assert read_ids(text, note="")[-1] == (3, 4)


LINES = [{"parentid": number, "childid": 9001, "batch": 'a}{[\\"]'} for number in (501, 502, 503)]
PRETTY = json.dumps(LINES, indent=2)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("\n".join(map(json.dumps, LINES)), [1, 2, 3]),
        (",\n".join(map(json.dumps, LINES)) + ",\n", [1, 2, 3]),
        ("".join(map(json.dumps, LINES)), [1, 1, 1]),
        (json.dumps(LINES), [1, 1, 1]),
        ("[" + ",\r\n".join(map(json.dumps, LINES)) + ",]", [1, 2, 3]),
        (PRETTY, [2, 7, 12]),
        ("\n".join(json.dumps(line, indent=1) for line in LINES), [1, 6, 11]),
        ("[" + " " * 2**17 + ",".join(json.dumps(line) for line in LINES) + "]", [1, 1, 1]),
    ],
)
def test_json_means_the_same_however_its_objects_are_laid_out(text: str, lines: list[int]) -> None:
    rows = read(text)
    assert [row.message for row in rows] == [{**LINK, **line} for line in LINES]
    assert [row.line for row in rows] == lines
    assert len({row.key for row in rows}) == 3


@pytest.mark.parametrize("layout", [lambda text: text, lambda text: text.replace("\n", "")])
def test_an_object_that_cannot_be_read_is_rejected_alone(layout: Callable[[str], str]) -> None:
    rows = read(layout(PRETTY.replace("502", "5o2").replace("},", "}, oops", 1)))
    assert [row.message["parentid"] for row in rows if row.message] == [501, 503]
    assert {str(row.faults[0])[:29] for row in rows if row.faults} == {
        'expected objects, got "oops" ',
        "expected JSON: JSON is malfor",
    }
    cut = read(layout(PRETTY[: PRETTY.rindex("}")]))
    assert str(cut[-1].faults[0]) == "the object that begins here has no end"
    assert [row.message for row in cut[:2]] == [{**LINK, **line} for line in LINES[:2]]


def test_a_line_that_ends_in_a_backslash_within_a_text_costs_no_other_object() -> None:
    rows = read(PRETTY.replace("502", '"50\\\n2"'))
    assert [row.message["parentid"] for row in rows if row.message] == [501, 503]
    assert [str(row.faults[0])[:29] for row in rows if row.faults] == ["expected JSON: JSON is malfor"]


def test_a_text_that_is_open_over_many_lines_is_read_once() -> None:
    began = time.process_time()
    (row,) = read('[\n{"parentid": "' + "1,\n" * 100_000)
    assert str(row.faults[0]) == "the object that begins here has no end"
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize("layout", ["{0}\n{1}", "[\n{0},\n{1}\n]"])
def test_a_quotation_mark_that_is_left_open_behind_an_object_is_a_fault(layout: str) -> None:
    rows = read(layout.format(json.dumps(LINES[0]), json.dumps(LINES[1]) + ' "oops'))
    assert [row.message["parentid"] for row in rows if row.message] == [501, 502][: len(rows) - 1]
    assert [
        "oops" in str(row.faults[0]) or "expected JSON" in str(row.faults[0]) for row in rows if row.faults
    ] == [True]


def test_an_object_in_which_a_name_stands_twice_is_rejected() -> None:
    (row, good) = read('{"parentid": 1, "childid": 2, "childid": 3}\n{"parentid": 1, "childid": 2}\n')
    assert [str(fault) for fault in row.faults] == [
        "childid: stands 2 times in its object; which value counts?"
    ]
    assert not good.faults


def test_a_broken_line_of_ndjson_costs_no_other() -> None:
    for broken in ("{nonsense}", '{"parentid": 1', '{"parentid": "1', "{", '{"a": {}} {"b": 1'):
        rows = read(f"{broken}\n" + "\n".join(map(json.dumps, LINES)))
        assert [bool(row.faults) for row in rows] == [True, False, False, False]


def test_an_object_that_is_too_long_is_rejected_and_the_next_is_read() -> None:
    long = json.dumps({"parentid": 1, "batch": "x" * 2**21})
    rows = read(f"[{long}, {json.dumps(LINES[0])}]")
    assert ["at most" in str(row.faults) for row in rows] == [True, False]


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_found(name: str) -> None:
    assert detect_format(BytesIO(f"{HEAD};Straße\n1;2;Königsallee\n".encode(name))).encoding == name
    with pytest.raises(Invalid, match="NUL bytes"):
        detect_format(BytesIO(b"parentid;childid\n1;2\0\n"))


@pytest.mark.parametrize("text", ["Käufer", "Größe", "café"])
def test_a_file_of_two_encodings_is_refused_rather_than_misread(text: str) -> None:
    head = f"{HEAD};batch\n"
    mixed = f"{head}1;2;{text}\n".encode() + f"3;4;{text}\n".encode("cp1252")
    with pytest.raises(Invalid) as refused:
        detect_format(BytesIO(mixed))
    assert "lines in UTF-8 and lines in Windows-1252" in str(refused.value)
    later = f"{head}1;2;Großer Spaß“, 5 € Ü–Ö\n".encode(
        "cp1252"
    )  # letters before what a UTF-8 letter ends with
    assert detect_format(BytesIO(later)).encoding == "cp1252"


def test_the_encoding_is_detected_from_the_whole_file() -> None:
    text = f"{HEAD};Straße\n1;2;Königsallee\n"
    for name, found in (
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("cp1252", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
    ):
        raw = BytesIO(text.encode(name))
        encoding = detect_format(raw).encoding
        assert encoding == found
        raw.seek(0)
        assert TextIOWrapper(raw, encoding=encoding).read() == text


@pytest.mark.parametrize("name", ["macroman", "CP850", "437", "utf8", "utf-16-le", "shift_jis", "latin-1"])
def test_a_file_is_read_in_the_encoding_that_is_said(name: str) -> None:
    text = f"{HEAD};batch\n1;2;Büro\n" if name != "shift_jis" else f"{HEAD};batch\n1;2;東京\n"
    raw = text.encode(name)
    assert raw.decode(detect_format(BytesIO(raw), find_encoding(name)).encoding) == text


@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_byte_order_mark_may_stand_in_a_file_whose_encoding_is_said(name: str) -> None:
    raw = '\ufeff"parentid"'.encode(name.removesuffix("-sig"))
    assert raw.decode(detect_format(BytesIO(raw), find_encoding(name)).encoding) == '"parentid"'


@pytest.mark.parametrize(
    ("raw", "name", "reason"),
    [
        ("ü".encode("cp1252"), "utf-8", "expected text in utf-8"),
        (b"a", "utf-16", "expected text in utf-16"),
        ("ü".encode("utf-8-sig"), "mac_roman", "begins with the mark of UTF-8, so it is not in mac-roman"),
        ("ü".encode("utf-16"), "cp850", "begins with the mark of UTF-16, so it is not in cp850"),
        (b"a\0b", "cp850", "got NUL bytes"),
    ],
)
def test_a_file_that_is_not_in_the_encoding_that_is_said_is_refused(
    raw: bytes, name: str, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        detect_format(BytesIO(raw), find_encoding(name))


@pytest.mark.parametrize("name", ["", "ansi", "base64", "idna", "undefined", "a\0", "é", "x" * 999])
def test_an_encoding_that_nobody_knows_is_named(name: str) -> None:
    with pytest.raises(Invalid, match=r"there is no encoding .*; there are utf-8, cp1252, mac_roman"):
        find_encoding(name)


def test_a_zip_archive_that_is_damaged_anywhere_is_text_or_named() -> None:
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr("käufer.csv", HEAD)
    for place in range(4, len(packed.getvalue())):
        for byte in (0x00, 0x99, 0xFF):
            damaged = bytearray(packed.getvalue())
            damaged[place] = byte
            with suppress(Invalid), unpack_text(BytesIO(damaged)) as text:
                assert text.read() == HEAD.encode()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_however_they_end(end: str) -> None:
    assert detect_format(BytesIO(end.join(["a", "b", "c"]).encode())).lines == 3


@pytest.mark.parametrize("end", ["\n\x1a", "\r\n\x1a", "\r\n\x1a\r\n"])
def test_the_mark_that_dos_programs_end_files_with_is_no_row(end: str) -> None:
    (row,) = read(f"{HEAD}\n1;2{end}")
    assert (row.text, row.faults) == ("1;2", [])


@pytest.mark.parametrize(("text", "flag"), [("WAHR", True), ("ja", True), ("FALSCH", False), ("0", False)])
def test_a_yes_or_no_is_read_as_spreadsheets_write_it(text: str, flag: bool) -> None:
    (row,) = read(f"{HEAD};allow_empty\n1;2;{text}\n")
    assert (row.message or {})["allow_empty"] is flag


# --- times without an offset


BERLIN = ZoneInfo("Europe/Berlin")


def write_time(text: object, zone: ZoneInfo | None) -> tuple[object, str]:
    row = write_offset(InputRow(1, "", {"occurred_at": text}), zone)
    return (row.message or {})["occurred_at"], "; ".join(map(str, row.faults))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("27.11.2026 14:30", "2026-11-27T14:30:00+01:00"),
        ("27.7.2026, 14:30:05", "2026-07-27T14:30:05+02:00"),
        ("27.7.2026,14:30", "2026-07-27T14:30:00+02:00"),
        ("27.7.2026 9:5:7", "2026-07-27T09:05:07+02:00"),
        ("2026-07-27 14:30", "2026-07-27T14:30:00+02:00"),
        ("2026-11-27T14:30:05.250", "2026-11-27T14:30:05.250000+01:00"),
        ("27.11.2026", "2026-11-27T00:00:00+01:00"),
        ("2026-11-27T14:30:00Z", "2026-11-27T14:30:00Z"),
        ("2026-11-27T14:30:00+05:30", "2026-11-27T14:30:00+05:30"),
        ("11/27/2026", "11/27/2026"),
        ("27.13.2026", "27.13.2026"),
        ("45623.5", "45623.5"),
        (7, 7),
    ],
)
def test_a_time_without_an_offset_is_of_the_zone_that_is_said(text: object, expected: object) -> None:
    assert write_time(text, BERLIN) == (expected, "")


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))
def test_a_time_is_that_of_the_zone_or_none_where_clocks_change(moment: datetime) -> None:
    written, fault = write_time(moment.isoformat(), BERLIN)
    if fault:
        assert moment.month in (3, 10)
        assert moment.hour == 2
    else:
        assert isinstance(written, str)
        read = datetime.fromisoformat(written)
        assert read.astimezone(BERLIN).replace(tzinfo=None) == moment


@pytest.mark.parametrize("text", ["29.03.2026 02:30", "25.10.2026 02:30"])
def test_a_time_at_which_clocks_change_is_asked_for_its_offset(text: str) -> None:
    assert "is no time in Europe/Berlin, or two: clocks change" in write_time(text, BERLIN)[1]


def test_without_a_zone_a_time_without_an_offset_says_what_to_do() -> None:
    kept, fault = write_time("27.11.2026 14:30", None)
    assert kept == "27.11.2026 14:30"
    assert '"27.11.2026 14:30" has no offset; write it as' in fault
    assert fault.endswith("or say its zone with --time-zone Europe/Berlin")


@pytest.mark.parametrize("name", ["Europa/Berlin", "../x", "/etc/passwd", "", "a\0", "x" * 999])
def test_a_time_zone_that_nobody_knows_is_named(name: str) -> None:
    with pytest.raises(Invalid, match="there is no time zone"):
        find_zone(name)


# --- records that are named by references


EMAIL, NUMBER = "address:email=x@example.test", "estate:objektnr_extern=00815"
OWN = {"estate": {"objektnr_extern": "00815"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"parentid;childid\n{NUMBER};{EMAIL}", (NUMBER, EMAIL)),
        (f"parentid;childid\n1;7|{EMAIL}|8", (1, [7, EMAIL, 8])),
        (f"parentid;childid\n1;7 8 {EMAIL}", (1, [7, 8, EMAIL])),
        (f"parentid;childid\n1;{EMAIL} {EMAIL}", (1, [EMAIL, EMAIL])),
        ("parentid;childid\n1;address:Name=Haus am See, links", (1, "address:Name=Haus am See, links")),
        ("estate:objektnr_extern;childid\n00815;7", (OWN, 7)),
        ("parentid=estate:objektnr_extern;childid\n00815;7", (OWN, 7)),
        ("Parent = estate:objektnr_extern;childid\n00815;7", (OWN, 7)),
        ('estate:objektnr_extern;childid\n"=""00815""";7', (OWN, 7)),
        ("estate:objektnr_extern;parentid;childid\n;5;7", (5, 7)),
        ("estate:objektnr_extern;parentid;childid\n00815;;7", (OWN, 7)),
        (
            "parentid;address:email;address:KdNr\n1;x@example.test;07",
            (1, {"address": {"email": "x@example.test", "KdNr": "07"}}),
        ),
        (
            "parentid;address:email;address:KdNr\n1;x@example.test;",
            (1, {"address": {"email": "x@example.test"}}),
        ),
    ],
)
def test_cells_and_columns_name_records_by_what_the_crm_knows_of_them(text: str, expected: object) -> None:
    assert read_ids(text) == [expected]
    assert rejected(text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "estate:objektnr_extern;parentid;childid\n00815;5;7",
            "is named by this column and by a field of it",
        ),
        ("estate:objektnr_extern;childid\n1,23E+05;7", "its digits are lost"),
        ("estate:objektnr_extern;childid\n;7", "parentid"),
        ("parentid;childid=address:email;childid=estate:uuid\n1;a@b.c;2", "of an estate and of an address"),
        (f"parentid;childid\n1;{EMAIL}|x", 'expected an id, a positive whole number, got "x"'),
        ("parentid;childid\n1;address:email=", "expected a text to look for"),
        ("parentid;childid\n1;estate:uuid=7", "is a record of address, not of estate"),
        ("parentid;calendar:uuid\n1;2", 'column "calendar:uuid" is not known'),
    ],
)
def test_a_row_that_names_a_record_in_two_ways_or_in_none_is_rejected(text: str, reason: str) -> None:
    if "calendar" in text:
        assert reason in header_faults(text)
    else:
        [(_, faults)] = rejected(text)
        assert reason in str(faults)


def test_a_field_of_records_that_stand_on_both_sides_needs_the_side() -> None:
    text = "address:email;childid\na@b.c;7"
    types = [name for name, known in TYPES.items() if (known.parent, known.child) == ("address", "address")]
    [row] = read(text, relationtype=types[0])
    assert "say which side address:email is on: childid=address:email, or parentid=address:email" in str(
        row.faults
    )
    [row] = read(text.replace("address:email", "parentid=address:email"), relationtype=types[0])
    assert not row.faults


def test_a_column_may_be_mapped_to_a_field_of_a_record() -> None:
    assert read_ids("Nr;childid\n00815;7", Nr="estate:objektnr_extern") == [(OWN, 7)]
    assert read_ids("Nr;childid\n00815;7", Nr="parentid=estate:objektnr_extern") == [(OWN, 7)]


def test_what_a_column_is_mapped_to_is_a_field_or_one_of_a_record() -> None:
    assert find_field("child = address:KdNr") == "childid=address:KdNr"
    assert find_field("address:KdNr") == "address:KdNr"
    assert find_field("action=address:KdNr") == ""
    assert find_field("person:KdNr") == ""
