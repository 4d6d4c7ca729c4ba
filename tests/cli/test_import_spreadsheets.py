"""What is read of an .xlsx beside its library: its failed cells, and how far its cells reach."""

import re
import time
from collections.abc import Iterator
from io import BytesIO

import pytest

from producers.portals.imports import unpack
from producers.portals.imports.xlsx_parts import BLOCK, FailedCell, find_failed_cells, require_compact
from tests.support.spreadsheets import Failed, make_sheet, pack_xlsx
from worker.errors import Invalid

FAR = '<row r="1048576"><c r="{column}1048576"{more}</row></sheetData>'
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
