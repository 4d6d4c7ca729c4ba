"""What is read of a spreadsheet beside its library: its failed cells, and how far its cells reach."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO

import pytest

from producers.portals.imports import unpack
from producers.portals.imports.sheet_cells import FailedCell
from producers.portals.imports.xlsx_parts import BLOCK, find_failed_cells, require_compact
from tests.support.old_spreadsheets import make_ods, make_xls, make_xlsb, make_xlsb_number, make_xlsb_row
from tests.support.spreadsheets import Failed, Rows, make_sheet, pack_xlsx
from worker.errors import Invalid

FAR = '<row r="1048576"><c r="{column}1048576"{more}</row></sheetData>'
DURATION = 46  # the format [h]:mm:ss
ROWS = [["parentid", "childid"], [1, 2]]


def find(xml: str) -> list[FailedCell]:
    return list(find_failed_cells(BytesIO(pack_xlsx({"a": xml})), "a"))


def reach(column: str, more: str, stated: str = "") -> bytes:
    """Return a workbook with one more cell in the last row."""
    xml = make_sheet(ROWS).replace("</sheetData>", FAR.format(column=column, more=more))
    dimension = f'<dimension ref="{stated}"/><sheetData>' if stated else "<sheetData>"
    return pack_xlsx({"a": xml.replace("<sheetData>", dimension)})


def rows_with_failures() -> Iterator[tuple[str, list[float | str | Failed]]]:
    """Yield rows of uneven length, some of which fail, until they fill several pieces."""
    for number in range(1, 3 * BLOCK // 100):
        failed = "#N/A" if number % 7 else ""
        yield failed, [number, "x" * (number % 90), *([Failed(failed)] if failed else [])]


def test_every_failed_cell_is_found_wherever_a_piece_ends() -> None:
    made = list(rows_with_failures())
    xml = make_sheet([cells for _, cells in made])
    assert len(xml) > 3 * BLOCK
    assert find(xml) == [FailedCell(at, 2, failed) for at, (failed, _) in enumerate(made) if failed]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('t="e"', "t='e'"),
        (r"<(/?)(c|v)\b", r"<\1x:\2"),
        ("<c r", '<c s="3"\n r'),
        ("<f>A99</f>", '<f t="shared">IF(A1="t=",1,&lt;c t="e"&gt;)</f>'),
    ],
)
def test_a_failed_cell_is_found_however_its_program_writes_it(before: str, after: str) -> None:
    xml = make_sheet([["a", Failed("#REF!")], [Failed("#NUM!")]])
    changed = re.sub(before, after, xml)
    assert changed != xml
    assert find(changed) == [FailedCell(0, 1, "#REF!"), FailedCell(1, 0, "#NUM!")]


def test_a_failed_cell_stands_in_its_column_where_the_table_begins_further_in() -> None:
    rows = [["parentid", "childid"], [Failed("#REF!"), 2], [3, Failed("#N/A")], [Failed("#NUM!")]]
    xml = make_sheet(rows)
    for place, moved in (("B", "D"), ("A", "C")):
        xml = re.sub(rf'r="{place}(\d)"', rf'r="{moved}\1"', xml)
    for number in range(4, 0, -1):
        xml = re.sub(rf'r="(\w?){number}"', rf'r="\g<1>{number + 2}"', xml)
    with unpack(BytesIO(pack_xlsx({"a": xml}))) as text:
        lines = text.read().decode().splitlines()
    assert lines == [",,,", ",,,", ",,parentid,childid", ",,#REF!,2", ",,3,#N/A", ",,#NUM!,"]


def test_a_text_that_reads_like_a_failed_cell_is_none() -> None:
    assert find(make_sheet([['<c r="A1" t="e"><v>#N/A</v></c>', ' t="e"']])) == []
    xml = make_sheet([[1, 2]]).replace('<c r="A1">', '<c r="C9" t="e"/><c r="A1">')
    assert find(xml) == []


@pytest.mark.parametrize(
    "noise",
    [
        "<c r='B1' a='" + ' t="e" r="B1"' * 40_000 + "'/>",
        "<!--" + '<c t="e">' * 40_000 + "-->",
    ],
    ids=["attribute", "comment"],
)
def test_what_only_looks_like_many_failed_cells_is_read_once(noise: str) -> None:
    xml = make_sheet([[1, Failed("#REF!")]]).replace("<sheetData>", f"{noise}<sheetData>")
    began = time.process_time()
    assert [cell.text for cell in find(xml)] == ["#REF!"]
    require_compact(BytesIO(pack_xlsx({"a": xml})), "a")
    assert time.process_time() - began < 3


@pytest.mark.parametrize("stated", ["", "A1", "A1:XFD1048576"])
def test_a_cell_far_outside_of_the_table_is_named_before_memory_is_taken(stated: str) -> None:
    with pytest.raises(Invalid, match='the sheet "a" has cells from A1 to XFD1048576; delete the rows'):
        unpack(BytesIO(reach("XFD", "><v>1</v></c>", stated)))


@pytest.mark.parametrize("more", [' s="7"/>', ' s="7"></c>'])
def test_a_format_far_outside_of_the_table_is_no_cell(more: str) -> None:
    with unpack(BytesIO(reach("XFD", more, "A1:XFD1048576"))) as text:
        assert text.read() == b"parentid,childid\n1,2\n"


def test_of_a_sheet_that_is_named_no_other_is_read() -> None:
    far = make_sheet(ROWS).replace("</sheetData>", FAR.format(column="XFD", more="><v>1</v></c>"))
    sheets = {"a": make_sheet(ROWS), "b": far}
    with unpack(BytesIO(pack_xlsx(sheets)), "a") as text:
        assert text.read() == b"parentid,childid\n1,2\n"


def test_a_column_may_be_as_long_as_a_sheet() -> None:
    with unpack(BytesIO(reach("B", "><v>1</v></c>"))) as text:
        assert sum(1 for _ in text) == 2**20


def test_a_sheet_that_states_less_than_it_has_is_measured() -> None:
    with pytest.raises(Invalid, match="has cells from A1 to XFD1048576"):
        unpack(BytesIO(reach("XFD", "><v>1</v></c>", "A1:B2")))


MAKERS = [make_xls, partial(make_xls, is_small=True), make_xlsb, make_ods]
FAILURES: Rows = [
    ["parentid", "childid", "batch", "event_id"],
    [501, 9001, Failed("#N/A"), Failed("#REF!")],
    [Failed("#DIV/0!"), Failed("#NAME?"), "x", 7],
]


@pytest.mark.parametrize("make", MAKERS)
def test_failed_cells_of_other_programs_are_shown_too(make: Callable[[Rows], bytes]) -> None:
    with unpack(BytesIO(make(FAILURES))) as text:
        lines = text.read().decode().splitlines()
    assert lines == ["parentid,childid,batch,event_id", "501,9001,#N/A,#REF!", "#DIV/0!,#NAME?,x,7"]


def cell(kind: str, shown: str, more: str = "") -> str:
    formula = 'table:formula="of:=1/0"'
    return f"<table:table-cell {formula} {kind} {more}><text:p>{shown}</text:p></table:table-cell>"


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (cell('office:value-type="float" office:value="0"', "#DIV/0!"), "#DIV/0!"),  # as Excel saves it
        (cell('office:value-type="string" office:string-value=""', "Err:502"), "Err:502"),
        (cell('office:value-type="string" calcext:value-type="error"', "kaputt"), "#ERROR!"),
        (cell('office:value-type="float" office:value="5"', "#5"), "5"),
        (
            '<table:table-cell table:number-columns-repeated="2"/>'
            + cell('office:value-type="string"', "#NV", 'table:number-columns-repeated="2"'),
            ",,#NV,#NV",
        ),
    ],
)
def test_what_a_cell_of_an_ods_shows_tells_whether_it_has_failed(row: str, line: str) -> None:
    more = f'<table:table-row table:number-rows-repeated="2">{row}</table:table-row>'
    with unpack(BytesIO(make_ods([["", "a", "", "b"]], more))) as text:
        lines = [each.rstrip(",") for each in text.read().decode().splitlines()]
    assert lines == [",a,,b", line, line]


def test_a_far_cell_of_other_programs_is_named_too() -> None:
    far = '<table:table-row table:number-rows-repeated="1048000"/><table:table-row>'
    far += '<table:table-cell table:number-columns-repeated="16000"/><table:table-cell '
    far += 'office:value-type="float" office:value="1"/></table:table-row>'
    with pytest.raises(Invalid, match="has cells from A1 to WQK1048003; delete the rows"):
        unpack(BytesIO(make_ods(ROWS, far)))
    record = make_xlsb_row(2**20 - 1) + make_xlsb_number(2**14 - 1, 1.0)
    with pytest.raises(Invalid, match="has cells from A1 to XFD1048576; delete the rows"):
        unpack(BytesIO(make_xlsb(ROWS, more=record)))


def test_a_duration_is_not_taken_for_an_empty_cell() -> None:
    xml = make_sheet([["occurred_at"], [1.25]]).replace('r="A2"', 'r="A2" s="1"')
    with unpack(BytesIO(pack_xlsx({"a": xml}, formats=[0, DURATION]))) as text:
        assert text.read().decode() == 'occurred_at\n"1 day, 6:00:00"\n'


@pytest.mark.parametrize("make", MAKERS)
def test_a_damaged_file_of_other_programs_is_refused_or_read(make: Callable[[Rows], bytes]) -> None:
    whole = make(FAILURES)
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        with suppress(Invalid), unpack(BytesIO(damaged)) as text:
            text.read()
