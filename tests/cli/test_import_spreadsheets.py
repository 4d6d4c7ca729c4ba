"""What is read of a spreadsheet beside its library: its failed cells, and how far its cells reach."""

import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO

import pytest

from producers.portals.imports import unpack
from producers.portals.imports.ods_cells import scan_ods
from producers.portals.imports.sheet_cells import ShownCells
from producers.portals.imports.xlsx_parts import scan_xlsx
from tests.support.old_spreadsheets import (
    make_ods,
    make_xls,
    make_xlsb,
    make_xlsb_number,
    make_xlsb_row,
    make_xlsb_short_number,
)
from tests.support.spreadsheets import Failed, Rows, make_sheet, pack_xlsx
from worker.errors import Invalid

FAR = '<row r="1048576"><c r="{column}1048576"{more}</row></sheetData>'
DURATION = 46  # the format [h]:mm:ss
ROWS = [["parentid", "childid"], [1, 2]]


def find(xml: str) -> ShownCells:
    return scan_xlsx(BytesIO(pack_xlsx({"a": xml})), "a")


def read(content: bytes) -> list[str]:
    """Return the lines of a spreadsheet as CSV."""
    with unpack(BytesIO(content)) as text:
        return text.read().decode().splitlines()


def reach(column: str, more: str, stated: str = "") -> bytes:
    """Return a workbook with one more cell in the last row."""
    xml = make_sheet(ROWS).replace("</sheetData>", FAR.format(column=column, more=more))
    dimension = f'<dimension ref="{stated}"/><sheetData>' if stated else "<sheetData>"
    return pack_xlsx({"a": xml.replace("<sheetData>", dimension)})


def test_every_failed_cell_of_a_long_sheet_is_found() -> None:
    made = [["#N/A", "x" * (number % 90)] if number % 7 else [number, ""] for number in range(30_000)]
    xml = make_sheet([[Failed(str(first)) if first == "#N/A" else first, text] for first, text in made])
    assert find(xml) == {at: [(0, 1, "#N/A")] for at, (first, _) in enumerate(made) if first == "#N/A"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('t="e"', "t='e'"),
        (r"<(/?)(c|v)\b", r"<\1x:\2"),
        (r' r="\w+"', ""),  # as many an export script writes: each row and cell behind the one before
        (r'<c r="\w+"', "<c"),
        (r'<row r="\w+"', "<row"),
        ("</f><v>", "</f>\n<!-- t='e' --><v>\n"),
        ("<c r", '<c s="3"\n r'),
        ("<f>A99</f>", '<f t="shared">IF(A1="t=",1,&lt;c t="e"&gt;)</f>'),
    ],
)
def test_a_failed_cell_is_found_however_its_program_writes_it(before: str, after: str) -> None:
    xml = make_sheet([["a", Failed("#REF!")], [Failed("#NUM!")]])
    changed = re.sub(before, after, xml)
    assert changed != xml
    assert find(changed) == {0: [(1, 1, "#REF!")], 1: [(0, 1, "#NUM!")]}


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


@pytest.mark.parametrize(
    ("value", "shown"),
    [("#GETTING_DATA", "#GETTING_DATA"), ("#SPILL!", "#SPILL!"), ("", "#ERROR!"), ("new", "#ERROR!")],
)
def test_an_error_of_any_name_is_one(value: str, shown: str) -> None:
    assert find(make_sheet([[Failed(value)]])) == {0: [(0, 1, shown)]}


def test_a_text_that_reads_like_a_failed_cell_is_none() -> None:
    assert find(make_sheet([['<c r="A1" t="e"><v>#N/A</v></c>', ' t="e"']])) == {}
    xml = make_sheet([[1, 2]]).replace('<c r="A1">', '<c r="C9" t="e"/><c r="A1">')
    assert find(xml) == {}


def test_a_row_out_of_order_has_its_failed_cells() -> None:
    xml = make_sheet([["parentid"], [1], [Failed("#REF!")]])
    first, second, third = re.findall("<row.*?</row>", xml)
    assert read(pack_xlsx({"a": xml.replace(first + second + third, third + first + second)})) == [
        "parentid",
        "1",
        "#REF!",
    ]


@pytest.mark.parametrize(
    ("formula", "shown"),
    [
        ("<f>A1</f>", "#NOT CALCULATED!"),  # exceljs, SheetJS
        ("<f>A1</f><v></v>", "#NOT CALCULATED!"),  # openpyxl
        ("<f>A1</f><v/>", "#NOT CALCULATED!"),
        ('<f t="shared" si="0"/>', "#NOT CALCULATED!"),
        ("<f>A1</f><v>0</v>", "0"),
        ("<f/><v>7</v>", "7"),
        ("<v></v>", ""),
    ],
)
def test_a_formula_that_was_never_worked_out_is_not_an_empty_cell(formula: str, shown: str) -> None:
    xml = make_sheet([["parentid", "batch"], [1, 2]]).replace('"B2"><v>2</v>', f'"B2">{formula}')
    assert read(pack_xlsx({"a": xml})) == ["parentid,batch", f"1,{shown}"]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ('t="str"><f>IF(A2,"","x")</f><v></v>', ""),
        ('t="s"><f>=A2</f>', "#NOT CALCULATED!"),  # PHP_XLSXWriter: of a shared text that is none
    ],
)
def test_a_formula_that_gave_an_empty_text_is_an_empty_cell(cell: str, shown: str) -> None:
    xml = make_sheet([["parentid", "batch"], [1, 2]]).replace('"B2"><v>2</v>', f'"B2" {cell}')
    assert read(pack_xlsx({"a": xml})) == ["parentid,batch", f"1,{shown}"]


def test_rows_of_nothing_but_formulas_are_rows_wherever_they_stand() -> None:
    formulas = '<c r="B{0}"><f>X1</f></c><c r="D{0}"><f>X1</f></c>'
    xml = make_sheet([[], ["x"], ["y"], [1], [2], ["x"]])
    xml = re.sub(r'<c r="A([26])" t="inlineStr">.*?</c>', lambda at: formulas.format(at[1]), xml)
    row = ",#NOT CALCULATED!,,#NOT CALCULATED!"
    assert read(pack_xlsx({"a": xml})) == ['""', row, "y", "1", "2", row]
    only = '<row><c t="str"><f>A1</f><v></v></c><c><f>A1</f></c></row></sheetData>'
    xml = make_sheet([]).replace("</sheetData>", only)
    assert read(pack_xlsx({"empty": make_sheet([]), "a": xml})) == [",#NOT CALCULATED!"]


def test_a_sheet_that_is_no_xml_is_damaged() -> None:
    xml = make_sheet([[1, Failed("#REF!")]])
    for broken in (xml.replace("<v>1</v>", "<v>1</w>"), xml.replace("<row", "&#1;<row"), xml[:-5]):
        with pytest.raises(Invalid, match=r"damaged, xl/worksheets/sheet1.xml is no XML|cannot be read"):
            unpack(BytesIO(pack_xlsx({"a": broken})))


@pytest.mark.parametrize("encoding", ["none", "gbk", "utf-16"])
def test_a_sheet_in_an_encoding_that_nobody_reads_is_damaged(encoding: str) -> None:
    xml = f'<?xml version="1.0" encoding="{encoding}"?>' + make_sheet([[1, Failed("#REF!")]])
    with pytest.raises(Invalid, match=r"damaged, xl/worksheets/sheet1.xml is no XML of a sheet \("):
        unpack(BytesIO(pack_xlsx({"a": xml})))


def test_formulas_and_texts_behind_the_cells_are_no_part_of_the_last_one() -> None:
    """Lists to choose from, conditional formats and sparklines of Excel have formulas of an element f."""
    more = "<headerFooter><oddFooter>Page</oddFooter></headerFooter><extLst><ext xmlns:xm='x'><xm:f>Lists!A1"
    more += "</xm:f></ext></extLst></worksheet>"
    for last, shown in ((2, "2"), (Failed("#REF!"), "#REF!"), (Failed(""), "#ERROR!")):
        xml = make_sheet([["parentid", "childid"], [1, last]])
        assert read(pack_xlsx({"a": xml.replace("</worksheet>", more)})) == ["parentid,childid", f"1,{shown}"]
        unknown = xml.replace("<v>2</v>", "<f>A1</f><v/>").replace("</worksheet>", more)
        assert last != 2 or read(pack_xlsx({"a": unknown}))[1] == "1,#NOT CALCULATED!"


@pytest.mark.parametrize("noise", ["<!--{}-->", "<sheetPr codeName='{}'/>"])
def test_a_long_comment_or_attribute_is_read_once(noise: str) -> None:
    filled = noise.format("c t=" * 2**20)
    xml = make_sheet([[1, Failed("#REF!")]]).replace("<sheetData>", f"{filled}<sheetData>")
    began = time.process_time()
    assert find(xml) == {0: [(1, 1, "#REF!")]}
    assert scan_ods(BytesIO(make_ods([["a"]], filled.replace("sheetPr", "table:x"))))
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


NEVER_CALCULATED = '<table:table-cell table:formula="of:=1/0"/>'


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (cell('office:value-type="float" office:value="0"', "#DIV/0!"), "#DIV/0!"),  # as Excel saves it
        (cell('office:value-type="string" office:string-value=""', "Err:502"), "Err:502"),
        (cell('office:value-type="string" calcext:value-type="error"', "kaputt"), "#ERROR!"),
        (cell('office:value-type="float" office:value="5"', "#5"), "5"),
        (NEVER_CALCULATED, "#NOT CALCULATED!"),  # odfpy, ezodf
        (cell("", "") + cell('office:value-type="string"', "x"), ",x"),  # `=""` as LibreOffice saves it
        (cell('office:value-type="string" office:string-value=""', ""), ""),
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


@pytest.mark.parametrize(
    ("kind", "inside", "text"),
    [
        ("string", "<text:p>501<text:line-break/>502</text:p>", "501 502"),
        ("string", "<text:p>501<text:tab/>502</text:p>", "501 502"),
        ("string", "<text:p>a<text:s text:c='2'/>b</text:p>", "a  b"),
        ("string", "<text:p>501</text:p><text:p>502</text:p>", "501 502"),
        ("string", "<text:p>50<text:span>1</text:span></text:p>", "501"),
        ("string", "<text:p><text:a xlink:href='http://x/9'>501</text:a></text:p>", "501"),
        ("string", "<office:annotation><text:p>7</text:p></office:annotation><text:p>501</text:p>", "501"),
        (
            "string",
            "<draw:frame><draw:text-box><text:p>7</text:p></draw:text-box></draw:frame><text:p>501</text:p>",
            "501",
        ),
        (
            "string",
            "<text:p><text:ruby><text:ruby-base>501</text:ruby-base><text:ruby-text>9</text:ruby-text>"
            "</text:ruby></text:p>",
            "501",
        ),
        ("", "<text:p>501</text:p>", "501"),
        ("float' office:value='501", "<text:p>five hundred</text:p>", "501"),
        ("string' office:string-value='501", "<text:p>shown<text:tab/></text:p>", "501"),
    ],
)
def test_a_text_of_an_ods_is_what_it_shows(kind: str, inside: str, text: str) -> None:
    value_type = f"office:value-type='{kind}'" if kind else ""
    more = f"<table:table-row><table:table-cell {value_type}>{inside}</table:table-cell></table:table-row>"
    assert read(make_ods([["childid"]], more)) == ["childid", text]


@pytest.mark.parametrize(
    "inside",
    [
        "<foreign:thing/>",
        "<text:p>1<text:s text:c='999999999999'/></text:p>",  # which the library would make room for
        "<text:p>" + "<text:span>" * 9999 + "1" + "</text:span>" * 9999 + "</text:p>",
    ],
)
def test_an_ods_that_is_no_xml_of_a_sheet_is_damaged(inside: str) -> None:
    row = f'<table:table-row><table:table-cell office:value-type="string">{inside}</table:table-cell>'
    with pytest.raises(Invalid, match=r"damaged, content.xml is no XML of a sheet"):
        unpack(BytesIO(make_ods(FAILURES, row + "</table:table-row>")))


def test_an_xlsb_whose_cells_name_no_columns_is_refused_rather_than_read_without_them() -> None:
    with pytest.raises(Invalid, match=r'the sheet "a" has cells without a column; save it as .xlsx'):
        unpack(
            BytesIO(
                make_xlsb(ROWS, more=make_xlsb_row(2) + make_xlsb_number(0, 1) + make_xlsb_short_number(2))
            )
        )


def test_a_far_cell_of_other_programs_is_named_too() -> None:
    far = '<table:table-row table:number-rows-repeated="1048000"/><table:table-row>'
    far += '<table:table-cell table:number-columns-repeated="16000"/><table:table-cell '
    far += 'office:value-type="float" office:value="1"/></table:table-row>'
    with pytest.raises(Invalid, match="has cells from A1 to WQK1048003; delete the rows"):
        unpack(BytesIO(make_ods(ROWS, far)))
    many = '<table:table-row table:number-rows-repeated="1048576">' + NEVER_CALCULATED + "</table:table-row>"
    with pytest.raises(Invalid, match="has cells from A1 to B104857602; delete the rows"):
        unpack(BytesIO(make_ods(ROWS, many * 100)))
    record = make_xlsb_row(2**20 - 1) + make_xlsb_number(2**14 - 1, 1.0)
    with pytest.raises(Invalid, match="has cells from A1 to XFD1048576; delete the rows"):
        unpack(BytesIO(make_xlsb(ROWS, more=record)))


@pytest.mark.parametrize("is_small", [False, True])
def test_a_password_of_an_xls_is_named(is_small: bool) -> None:
    with pytest.raises(Invalid, match="the spreadsheet is protected by a password; save it without one"):
        unpack(BytesIO(make_xls(ROWS, is_small=is_small, has_password=True)))


def test_an_xls_whose_list_of_sectors_has_no_end_is_refused() -> None:
    """Of sectors of four bytes, each holds but the number of the next one."""
    endless = bytearray(make_xls(ROWS))
    struct.pack_into("<H", endless, 30, 2)
    for place, number in ((8, 1), (44, 2**24), (68, 1)):
        struct.pack_into("<I", endless, place, number)
    with pytest.raises(Invalid, match="the spreadsheet cannot be read"):
        unpack(BytesIO(endless))


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
