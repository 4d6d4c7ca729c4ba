"""The cells of an .ods: XML in which rows and cells that are alike stand once, with how often.

The library that reads spreadsheets calls failed cells empty or 0. A file that is built like no other has
none.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, BinaryIO, Final, NamedTuple, cast
from xml.etree import ElementTree
from zipfile import ZipFile

from producers.portals.imports.sheet_cells import SHEET_ERROR, Area, FailedCell, check_area, measure
from producers.portals.imports.xlsx_parts import BROKEN

CONTENT: Final = "content.xml"
TABLE, TEXT, OFFICE, CALC = (
    f"{{urn:{name}:1.0}}"
    for name in (
        "oasis:names:tc:opendocument:xmlns:table",
        "oasis:names:tc:opendocument:xmlns:text",
        "oasis:names:tc:opendocument:xmlns:office",
        "org:documentfoundation:names:experimental:calc:xmlns:calcext",
    )
)
SHEET, ROW, FORMULA = f"{TABLE}table", f"{TABLE}table-row", f"{TABLE}formula"
VALUE_TYPE, CALC_TYPE = f"{OFFICE}value-type", f"{CALC}value-type"
CELLS: Final = (f"{TABLE}table-cell", f"{TABLE}covered-table-cell")
REPEATED: Final = {what: f"{TABLE}number-{what}-repeated" for what in ("rows", "columns")}
MAX_REPEATED: Final = 2**20  # rows of a sheet


class FailedRows(NamedTuple):
    """Rows that are alike, with failed cells: the first of them, from 0, their number, and the cells.

    A cell is its column, from 0, how many are alike, and what it shows.
    """

    first: int
    number: int
    cells: Sequence[tuple[int, int, str]]


def scan_ods(file: BinaryIO) -> Mapping[str, Sequence[FailedRows]]:
    """Return the rows with failed cells by sheet; none of a file that is no .ods.

    Raises Invalid if a cell lies so far out that there is no room for all that are between.
    """
    sheets = dict[str, Sequence[FailedRows]]()
    areas = dict[str, Area | None]()
    with suppress(*BROKEN), ZipFile(file) as archive, archive.open(CONTENT) as xml:
        for name, scan in _scan_sheets(xml):
            sheets[name], areas[name] = scan.failed, scan.area
    for name, area in areas.items():
        check_area(name, area)
    return sheets


def _scan_sheets(xml: IO[bytes]) -> Iterator[tuple[str, "_SheetScan"]]:
    """Yield what is known of each sheet when all of its rows are read, with its name."""
    scan = _SheetScan()
    for _, element in ElementTree.iterparse(xml):  # noqa: S314 - expat bounds what entities grow to
        if element.tag == ROW:
            scan.add(element)
            element.clear()
        elif element.tag == SHEET:
            yield element.get(f"{TABLE}name", ""), scan
            scan = _SheetScan()


def list_failed(rows: Sequence[FailedRows]) -> Iterator[FailedCell]:
    """Yield the failed cells of rows, one by one."""
    for group in rows:
        for number in range(group.first, group.first + group.number):
            for column, count, text in group.cells:
                yield from (FailedCell(number, at, text) for at in range(column, column + count))


class _SheetScan:
    """What is known of a sheet when some of its rows are read."""

    def __init__(self) -> None:
        self.failed, self.area = list[FailedRows](), cast(Area | None, None)
        self._number = 0

    def add(self, row: ElementTree.Element) -> None:
        """Take the next row, or rows that are alike."""
        cells, first, count = list(_read_cells(row)), self._number, _repeated(row, "rows")
        self._number += count
        if not cells:
            return
        column, columns, _ = cells[-1]
        corners = ((first + 1, cells[0][0] + 1), (first + count, column + columns))
        self.area = measure(corners, self.area)
        if failed := [cell for cell in cells if cell[2]]:
            self.failed.append(FailedRows(first, count, failed))


def _read_cells(row: ElementTree.Element) -> Iterator[tuple[int, int, str]]:
    """Yield the filled cells of a row: column, how many are alike, and what they show if they failed."""
    column = 0
    for cell in row:
        if cell.tag not in CELLS:
            continue
        count = _repeated(cell, "columns")
        if cell.get(VALUE_TYPE):
            yield column, count, _show_failed(cell) if cell.get(FORMULA) else ""
        column += count


def _show_failed(cell: ElementTree.Element) -> str:
    """Return what a cell shows whose formula has failed; "" of any other."""
    shown = "".join(text for line in cell.iterfind(f"{TEXT}p") for text in line.itertext()).strip()
    is_error = SHEET_ERROR.fullmatch(shown)
    return shown if is_error else "#ERROR!" if cell.get(CALC_TYPE) == "error" else ""


def _repeated(element: ElementTree.Element, what: str) -> int:
    """Return how many rows or columns an element stands for."""
    return min(MAX_REPEATED, int(element.get(REPEATED[what], "1")))
