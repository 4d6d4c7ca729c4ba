"""What the parts of an .xlsx say that the library which reads spreadsheets does not.

It calls failed cells empty, and makes room for each cell between the first and the last one, of which one may
lie far out. Parts are searched as bytes, in pieces: no text looks like a tag, because `<` is escaped in it.
"""

import posixpath
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, BinaryIO, Final, NamedTuple
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

from worker.contract.quoting import quote
from worker.errors import Fault, Invalid

BLOCK: Final = 2**20  # bytes in memory at once
MAX_CELL: Final = 2**16  # bytes of a failed cell, whose formula has at most 8,192 characters
MAX_PART: Final = 2**24  # bytes of a part that names the sheets
MAX_AREA: Final = 2**26  # cells that the library makes room for, in 2 GB
WORKBOOK: Final = "xl/workbook.xml"
LINKS: Final = "xl/_rels/workbook.xml.rels"
REFERENCE: Final = rb"([A-Z]{1,3})([0-9]{1,7})"
PLACE: Final = re.compile(rb"""\sr=["']%b["']""" % REFERENCE)
DIMENSION: Final = re.compile(rb"""<(?:\w+:)?dimension\s+ref=["']%b:%b["']""" % (REFERENCE, REFERENCE))
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


class FailedCell(NamedTuple):
    """What a cell shows whose formula has failed, such as `#REF!`, by row and column, from 0."""

    row: int
    column: int
    text: str


def find_failed_cells(file: BinaryIO, sheet: str) -> Iterator[FailedCell]:
    """Yield the failed cells of a sheet; none of a file that is no .xlsx, or is built like no other."""
    with suppress(*BROKEN), ZipFile(file) as archive, archive.open(_find_part(archive, sheet)) as xml:
        for cell in _search(xml, FAILED, MARKS):
            if (place := PLACE.search(cell[1])) and (value := VALUE.search(cell[2])):
                row, column = _read_place(place[1], place[2])
                yield FailedCell(row - 1, column - 1, value[1].decode(errors="replace"))


def require_compact(file: BinaryIO, sheet: str) -> None:
    """Raise Invalid if a cell of an .xlsx lies so far out that there is no room for all that are between."""
    with suppress(*BROKEN), ZipFile(file) as archive:
        part = _find_part(archive, sheet)
        with archive.open(part) as xml:
            area = _read_dimension(xml.read(MAX_CELL))
        if area.size <= MAX_AREA:  # nearly always
            return
        with archive.open(part) as xml:
            area = _measure(xml)
        if area.size > MAX_AREA:
            remedy = "delete the rows or columns that are far outside of the table, or save it as CSV UTF-8"
            raise Invalid([Fault("", f"the sheet {quote(sheet)} has cells from {area}; {remedy}")])


class _Area(NamedTuple):
    """The first and the last row and column of a sheet, from 1."""

    top: int = 2**20
    left: int = 2**14
    bottom: int = 1
    right: int = 1

    @property
    def size(self) -> int:
        return max(0, self.bottom - self.top + 1) * max(0, self.right - self.left + 1)

    def __str__(self) -> str:
        return f"{name_column(self.left)}{self.top} to {name_column(self.right)}{self.bottom}"


def _read_dimension(head: bytes) -> _Area:
    """Return the area that a sheet states, which may have formats only; all of it where none is stated."""
    if (stated := DIMENSION.search(head)) is None:
        return _Area(1, 1, 2**20, 2**14)
    return _Area(*_read_place(stated[1], stated[2]), *_read_place(stated[3], stated[4]))


def _measure(xml: IO[bytes]) -> _Area:
    """Return the area of the cells that have a value."""
    columns, top, bottom = set[bytes](), 2**20, 1
    for cell in _search(xml, FILLED):
        row = int(cell[2])
        columns.add(cell[1])
        top, bottom = min(top, row), max(bottom, row)
    numbers = [_read_place(letters, b"0")[1] for letters in columns]
    return _Area(top, min(numbers), bottom, max(numbers)) if numbers else _Area()


def _find_part(archive: ZipFile, sheet: str) -> str:
    """Return the path of a sheet inside of the archive; raises KeyError."""
    links = {link.get("Id"): link.get("Target", "") for link in _read(archive, LINKS)}
    for each in _read(archive, WORKBOOK).iterfind("{*}sheets/{*}sheet"):
        if each.get("name") == sheet:
            ids = [value for name, value in each.items() if name.endswith("}id")]
            return posixpath.join("/xl", links["".join(ids)]).lstrip("/")
    raise KeyError(sheet)


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


def name_column(number: int) -> str:
    """Return the letters of a column, which are counted from 1."""
    letters = ""
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
