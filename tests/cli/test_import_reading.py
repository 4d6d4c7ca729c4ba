"""What the lines of a table mean, and what is said of those that mean nothing: pure, without a store."""

from collections.abc import Sequence
from io import BytesIO, StringIO, TextIOWrapper
from itertools import product
from typing import Any

import pytest

from producers.portals.imports import Given, LoadCounts, Row, detect_format, field_of, pieces, rows
from producers.portals.imports.columns import ALIASES, FIELDS, _plain
from worker.errors import Fault, Invalid

LINK = {"action": "create", "relationtype": "estate:address:buyer"}
HEAD = "parentid;childid"


def read(text: str, mapping: dict[str, str] | None = None, **constants: str) -> list[Row]:
    return list(rows(StringIO(text, newline=""), mapping=mapping or {}, constants={**LINK, **constants}))


def said(text: str, **mapping: str) -> list[tuple[Any, Any]]:
    """Parent and child of every good row."""
    return [
        (row.message["parentid"], row.message["childid"])
        for row in read(text, mapping)
        if row.message and not row.faults
    ]


def rejected(text: str, **mapping: str) -> list[tuple[Row, Sequence[Fault]]]:
    """The rejected rows, as an import rejects them."""
    found = list[tuple[Row, Sequence[Fault]]]()
    list(
        pieces(
            read(text, mapping),
            Given("d", "acme", "b"),
            LoadCounts(),
            lambda row, faults: found.append((row, faults)),
        )
    )
    return found


def header_faults(text: str, mapping: dict[str, str] | None = None) -> str:
    with pytest.raises(Invalid) as refused:
        read(text, mapping)
    return str(refused.value)


# --- columns without a name


@pytest.mark.parametrize("row", ["1;2", "1;2;", "1;2;;", "1;2;;;;", "1;2; ;"])
@pytest.mark.parametrize("head", [HEAD, f"{HEAD};", f"{HEAD};; "])
def test_a_column_without_a_name_is_none_while_nothing_stands_in_it(head: str, row: str) -> None:
    assert said(f"{head}\n{row}\n") == [(1, 2)]


def test_what_stands_in_a_column_without_a_name_rejects_its_row_only() -> None:
    text = "parentid;;childid;;\n1;;2;;\n1;x;2;;\n1;;2;;y\n1;;2;;;z\n3;;4\n"
    assert said(text) == [(1, 2), (3, 4)]
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
def test_the_delimiter_that_excel_says_is_taken_by_its_word(delimiter: str) -> None:
    assert said(f"sep={delimiter}\nparentid{delimiter}childid\n1{delimiter}2\n") == [(1, 2)]


@pytest.mark.parametrize("text", ["", "\n\n", "sep=;", "sep=;\n\n", f"{HEAD}\n"])
def test_without_a_row_nothing_is_read(text: str) -> None:
    assert read(text) == []


def test_a_header_with_a_quote_left_open_is_refused() -> None:
    assert "header: has no names that can be read; is a quotation mark left open?" in header_faults(
        '"parentid;childid\n1;2\n'
    )


def test_an_option_for_a_column_that_is_not_there_names_those_that_are() -> None:
    assert 'there is no column "unit", as --map says; there are parentid, childid' in header_faults(
        f"{HEAD}\n1;2\n", {"unit": "childid"}
    )
    assert said(f"{HEAD}\n1;2\n", note="") == [(1, 2)]  # to leave out what is not there does no harm
    assert "these are lines of JSON" in header_faults("{}", {"unit": "childid"})


def test_every_name_that_a_column_may_have_is_a_field_for_the_options() -> None:
    assert {field_of(name) for name in FIELDS} == set(FIELDS)
    assert all(field_of(alias) == field for field, aliases in ALIASES.items() for alias in aliases)
    assert all(_plain(alias) == alias for aliases in ALIASES.values() for alias in aliases)


# --- rows


def test_a_row_names_all_that_is_wrong_with_it() -> None:
    ((_, faults),) = rejected("action;type;parentid;childid;occurred_at\nmake;estate;x y;1.234;yesterday\n")
    assert [fault.path for fault in faults] == [
        "parentid",
        "parentid",
        "childid",
        "action",
        "relationtype",
        "occurred_at",
    ]


def test_a_row_without_an_id_is_told_so_and_nothing_twice() -> None:
    ((_, faults),) = rejected(f"{HEAD}\n;x\n")
    assert [fault.path for fault in faults] == ["childid", "parentid"]


@pytest.mark.parametrize(
    "cell", ["9" * 5000, "9" * 200_000, "1.234" + ".567" * 3000, "x" * 90_000, " ".join("x" * 500), "٣", "²"]
)
def test_what_is_no_id_is_a_fault_that_can_be_read(cell: str) -> None:
    ((_, faults),) = rejected(f"{HEAD}\n1;{cell}\n")
    assert 0 < len(faults) <= 101
    assert max(len(str(fault)) for fault in faults) < 300


@pytest.mark.parametrize("many", [3, 3500, 40_000])
def test_a_quote_left_open_names_the_lines_it_swallowed_and_counts_them(many: int) -> None:
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
        assert said(text, note="")[-1] == (3, 4)


def test_the_encoding_is_known_whole_or_not_at_all() -> None:
    text = f"{HEAD};Straße\n1;2;Königsallee\n"
    for name, found in (
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("cp1252", "cp1252"),
        ("utf-16", "utf-16"),
    ):
        raw = BytesIO(text.encode(name))
        encoding = detect_format(raw).encoding
        assert encoding == found
        raw.seek(0)
        assert TextIOWrapper(raw, encoding=encoding).read() == text
