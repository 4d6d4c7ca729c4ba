"""The cells of an .xlsx: a zip archive with an XML for each sheet.

It is searched as bytes, in pieces: no text looks like a tag, because `<` is escaped in it.
"""

import posixpath
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, BinaryIO, Final
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

from producers.portals.imports.sheet_cells import Area, FailedCell, check_area

BLOCK: Final = 2**20  # bytes in memory at once
MAX_CELL: Final = 2**16  # bytes of a failed cell, whose formula has at most 8,192 characters
MAX_PART: Final = 2**24  # bytes of a part that names the sheets
MAX_ROWS: Final = 2**20  # of a sheet
WORKBOOK: Final = "xl/workbook.xml"
LINKS: Final = "xl/_rels/workbook.xml.rels"
REFERENCE: Final = rb"([A-Z]{1,3})([0-9]{1,7})"
PLACE: Final = re.compile(rb"""\sr=["']%b["']""" % REFERENCE)
# Each of its characters is looked at a few times, whatever stands there: what was read is not given back.
FAILED: Final = re.compile(
    rb"""<(?:\w+:)?c(?=\s)(?=[^<>]*?\st=["']e["'])([^<>]*+)(?<!/)>"""
    rb"""((?:[^<]++|<(?!/?(?:\w+:)?c[\s>]))*+)</(?:\w+:)?c>"""
)
MARKS: Final = (b't="e"', b"t='e'")  # what has none has no failed cell, which is found out ten times as fast
FILLED: Final = re.compile(
    rb"""<(?:\w+:)?c(?=\s)(?=[^<>]*?\sr=["']%b["'])[^<>]*+(?<!/)>\s*+<(?:\w+:)?(?:v|f|is)\b""" % REFERENCE
)
VALUE: Final = re.compile(rb"<(?:\w+:)?v>([^<]*)<")
# A damaged archive may also be of a version that there is not, or have names and places that are none.
BAD_ZIP: Final = (BadZipFile, NotImplementedError, ValueError, IndexError)
BROKEN: Final = (*BAD_ZIP, KeyError, ElementTree.ParseError, zlib.error, EOFError)


def find_failed_cells(file: BinaryIO, sheet: str) -> Iterator[FailedCell]:
    """Yield the failed cells of a sheet; none of a file that is no .xlsx, or is built like no other."""
    with suppress(*BROKEN), ZipFile(file) as archive, archive.open(_find_part(archive, sheet)) as xml:
        for cell in _search(xml, FAILED, MARKS):
            if (place := PLACE.search(cell[1])) and (value := VALUE.search(cell[2])):
                row, column = _read_place(place[1], place[2])
                yield FailedCell(row - 1, column - 1, value[1].decode(errors="replace"))


def require_compact(file: BinaryIO, sheet: str) -> None:
    """Raise Invalid if a cell of an .xlsx lies so far out that there is no room for all that are between."""
    area = None
    with suppress(*BROKEN), ZipFile(file) as archive, archive.open(_find_part(archive, sheet)) as xml:
        area = _measure(xml)
    check_area(sheet, area)


def _measure(xml: IO[bytes]) -> Area | None:
    """Return the area of the cells that have a value, whatever the sheet states of it."""
    columns, top, bottom = set[bytes](), MAX_ROWS, 1
    for cell in _search(xml, FILLED):
        row = int(cell[2])
        columns.add(cell[1])
        top, bottom = min(top, row), max(bottom, row)
    numbers = [_read_place(letters, b"0")[1] for letters in columns]
    return Area(top, min(numbers), bottom, max(numbers)) if numbers else None


def _find_part(archive: ZipFile, sheet: str) -> str:
    """Return the path of a sheet inside of the archive; raises KeyError."""
    links = read_links(archive, LINKS)
    for each in _read(archive, WORKBOOK).iterfind("{*}sheets/{*}sheet"):
        if each.get("name") == sheet:
            ids = [value for name, value in each.items() if name.endswith("}id")]
            return posixpath.join("/xl", links["".join(ids)]).lstrip("/")
    raise KeyError(sheet)


def read_links(archive: ZipFile, part: str) -> dict[str, str]:
    """Return where the parts are that a part names, by their ids."""
    return {link.get("Id", ""): link.get("Target", "") for link in _read(archive, part)}


def _read(archive: ZipFile, part: str) -> ElementTree.Element:
    with archive.open(part) as xml:
        return ElementTree.fromstring(xml.read(MAX_PART))  # noqa: S314 - expat bounds what entities grow to


def _search(
    xml: IO[bytes], pattern: re.Pattern[bytes], marks: Sequence[bytes] = (b"",)
) -> Iterator[re.Match[bytes]]:
    """Yield what matches, across pieces too; a piece without any of the marks is not searched."""
    rest = b""
    while block := xml.read(BLOCK):
        text, end = rest + block, 0
        if any(mark in text for mark in marks):
            for found in pattern.finditer(text):
                end = found.end()
                yield found
        rest = text[max(end, len(text) - MAX_CELL) :]


def _read_place(letters: bytes, digits: bytes) -> tuple[int, int]:
    """Return row and column, from 1, of such a place as `AB12`."""
    column = 0
    for letter in letters:
        column = 26 * column + letter - ord("A") + 1
    return int(digits), column
