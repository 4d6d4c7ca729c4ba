"""The cells of an .ods: XML in which rows and cells that are alike stand once, with how often.

The library that reads spreadsheets calls failed cells empty or 0, joins words between which a tab or a line
break stands, and adds what is drawn on a cell. A file that is built like no other has none of these.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, BinaryIO, Final, cast
from xml.etree import ElementTree
from zipfile import ZipFile

from producers.portals.imports.sheet_cells import (
    MAX_ROWS,
    NOT_CALCULATED,
    SHEET_ERROR,
    UNKNOWN_ERROR,
    Area,
    ShownCells,
    check_area,
    is_too_large,
    measure,
    read_blocks,
    refuse_damaged,
)
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
STRING_VALUE, PARAGRAPH = f"{OFFICE}string-value", f"{TEXT}p"
BLANKS: Final = (f"{TEXT}s", f"{TEXT}tab", f"{TEXT}line-break")
NOTES: Final = (f"{TEXT}ruby-text", f"{TEXT}note")
CELLS: Final = (f"{TABLE}table-cell", f"{TABLE}covered-table-cell")
REPEATED: Final = {what: f"{TABLE}number-{what}-repeated" for what in ("rows", "columns")}
MAX_BLANKS: Final = 2**15  # more than the text of a cell has characters


def scan_ods(file: BinaryIO) -> Mapping[str, ShownCells]:
    """Return by sheet the failed cells, and the texts that are read here; none of a file that is no .ods.

    Raises Invalid if a cell lies so far out that there is no room for all that are between, or if the sheets
    are no XML.
    """
    sheets = dict[str, ShownCells]()
    areas = dict[str, Area | None]()
    with suppress(*BROKEN), ZipFile(file) as archive, archive.open(CONTENT) as xml, refuse_damaged(CONTENT):
        for name, scan in _scan_sheets(xml):
            sheets[name], areas[name] = scan.shown, scan.area
    for name, area in areas.items():
        check_area(name, area)
    return sheets


def _scan_sheets(xml: IO[bytes]) -> Iterator[tuple[str, "_OdsScan"]]:
    """Yield what is known of each sheet when all of its rows are read, with its name."""
    scan = _OdsScan()
    for element in _read_elements(xml):
        if element.tag == ROW:
            scan.add(element)
            element.clear()
        elif element.tag == SHEET:
            yield element.get(f"{TABLE}name", ""), scan
            scan = _OdsScan()


def _read_elements(xml: IO[bytes]) -> Iterator[ElementTree.Element]:
    """Yield each element when it has ended."""
    # expat bounds what entities grow to
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser()
    for block in read_blocks(xml):
        parser.feed(block)
        yield from _take_ended(parser)
    parser.close()
    yield from _take_ended(parser)  # expat 2.6 and newer may leave the last blocks unread until then


def _take_ended(parser: "ElementTree.XMLPullParser[ElementTree.Element]") -> Iterator[ElementTree.Element]:
    events = cast(Iterator[tuple[str, ElementTree.Element]], parser.read_events())
    return (element for _, element in events)


class _OdsScan:
    """What is known of a sheet when some of its rows are read."""

    def __init__(self) -> None:
        self.shown, self.area = ShownCells(), cast(Area | None, None)
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
        shown = [cell for cell in cells if cell[2]]
        if shown and not is_too_large(self.area):  # then the sheet is refused
            self.shown |= dict.fromkeys(range(first, first + count), shown)


def _read_cells(row: ElementTree.Element) -> Iterator[tuple[int, int, str]]:
    """Yield the filled cells of a row: column, how many are alike, and what they show if it is read here."""
    column = 0
    for cell in row:
        if cell.tag not in CELLS:
            continue
        count, text = _repeated(cell, "columns"), _show_failed(cell) or _show_text(cell)
        if text or cell.get(VALUE_TYPE):
            yield column, count, text
        column += count


def _show_failed(cell: ElementTree.Element) -> str:
    """Return what a cell shows whose formula has failed, or was never worked out; "" of any other."""
    if not cell.get(FORMULA):
        return ""
    shown = _read_paragraphs(cell)
    if SHEET_ERROR.fullmatch(shown):
        return shown
    if cell.get(CALC_TYPE) == "error":
        return UNKNOWN_ERROR
    # LibreOffice writes no type for a formula that gave an empty text, but a paragraph without words.
    return "" if cell.get(VALUE_TYPE) or cell.find(PARAGRAPH) is not None else NOT_CALCULATED


def _show_text(cell: ElementTree.Element) -> str:
    """Return the text of a cell that has more than plain words, or does not say that it is a text."""
    kind = cell.get(VALUE_TYPE)
    is_text = (kind or "string") == "string" and cell.get(STRING_VALUE) is None
    is_plain = kind and all(each.tag == PARAGRAPH and not len(each) for each in cell)
    return _read_paragraphs(cell) if is_text and not is_plain else ""


def _read_paragraphs(cell: ElementTree.Element) -> str:
    return " ".join(map(_read_text, cell.iterfind(PARAGRAPH))).strip()


def _read_text(element: ElementTree.Element) -> str:
    """Return a text with blanks for tabs and the like, without what only explains it or is drawn on it."""
    text = element.text or ""
    for part in element:
        if part.tag in BLANKS:
            text += " " * _count_blanks(part)
        elif part.tag.startswith(TEXT) and part.tag not in NOTES:
            text += _read_text(part)
        text += part.tail or ""
    return text


def _count_blanks(part: ElementTree.Element) -> int:
    """Return how many blanks stand in one place; raises ValueError for more than the library has room for."""
    if (count := int(part.get(f"{TEXT}c", "1"))) > MAX_BLANKS:
        raise ValueError(f"{count} blanks in one cell")
    return count


def _repeated(element: ElementTree.Element, what: str) -> int:
    """Return how many rows or columns an element stands for."""
    return min(MAX_ROWS, int(element.get(REPEATED[what], "1")))
