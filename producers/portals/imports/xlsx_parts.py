"""The cells of an .xlsx: a zip archive with an XML for each sheet."""

import posixpath
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from sys import intern
from typing import IO, BinaryIO, Final, cast
from xml.etree import ElementTree
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile

from producers.portals.imports.sheet_cells import (
    NOT_CALCULATED,
    SHEET_ERROR,
    UNKNOWN_ERROR,
    Area,
    ShownCells,
    check_area,
    measure,
    read_blocks,
    refuse_damaged,
)

MAX_PART: Final = 2**24  # bytes of a part that names the sheets
MAX_SHOWN: Final = 100  # characters of what a cell shows
WORKBOOK: Final = "xl/workbook.xml"
LINKS: Final = "xl/_rels/workbook.xml.rels"
NEVER_EMPTY: Final = ("n", "b", "d", "s")  # numbers, what counts as one, and the number of a shared text
PLACE: Final = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
# A damaged archive may also be of a version that there is not, or have names and places that are none.
BAD_ZIP: Final = (BadZipFile, NotImplementedError, ValueError, IndexError)
BROKEN: Final = (*BAD_ZIP, LookupError, ElementTree.ParseError, zlib.error, EOFError)


def scan_xlsx(file: BinaryIO, sheet: str) -> ShownCells:
    """Return the failed cells of a sheet; none of a file that is no .xlsx, or is built like no other.

    Raises Invalid if a cell lies so far out that there is no room for all that are between, or if the sheet
    is no XML: then it is not known which cells have failed.
    """
    scan = _XlsxScan()
    with suppress(*BROKEN), ZipFile(file) as archive:
        part = _find_part(archive, sheet)
        with archive.open(part) as xml, refuse_damaged(part):
            scan.read(xml)
    check_area(sheet, scan.area)
    return scan.failed


class _XlsxScan:
    """What is known of a sheet when some of its cells are read; some programs leave out where they stand."""

    def __init__(self) -> None:
        self.failed, self.area = ShownCells(), cast(Area | None, None)
        self._row = self._column = 0  # of the cell that is read, from 1
        self._kind, self._is_filled, self._has_formula, self._value = "n", False, False, ""
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end

    def read(self, xml: IO[bytes]) -> None:
        """Take a whole sheet."""
        for block in read_blocks(xml):
            self._parser.Parse(block)
        self._parser.Parse(b"", True)

    def _begin(self, name: str, attributes: Mapping[str, str]) -> None:
        match name.rpartition(":")[2]:
            case "v":
                self._is_filled = True
                if self._has_formula or self._kind == "e":  # hardly ever
                    self._parser.CharacterDataHandler = self._add_text
            case "c":
                self._begin_cell(attributes.get("r", ""), attributes.get("t", "n"))
            case "f":
                self._has_formula = True
            case "row":
                self._row, self._column = int(attributes.get("r", self._row + 1)), 0
            case "is":
                self._is_filled = True

    def _begin_cell(self, place: str, kind: str) -> None:
        """Go to a cell: to its place, or to the next one if it names none."""
        self._column += 1
        if found := PLACE.fullmatch(place):
            self._row, self._column = int(found[2]), _number_column(found[1])
        # Formulas stand outside of cells, too: of lists to choose from, and of conditional formats.
        self._kind, self._is_filled, self._has_formula, self._value = kind, False, False, ""

    def _add_text(self, text: str) -> None:
        self._value = (self._value + text)[:MAX_SHOWN]

    def _end(self, name: str) -> None:
        if name.rpartition(":")[2] == "c":
            self._end_cell()

    def _end_cell(self) -> None:
        """Take a cell, of which all is read by now."""
        if self._has_formula or self._kind == "e":
            if shown := self._show_failed():
                self.failed.setdefault(self._row - 1, []).append((self._column - 1, 1, intern(shown)))
            self._parser.CharacterDataHandler = None
        if self._is_filled or self._has_formula:
            self.area = measure([(self._row, self._column)], self.area)

    def _show_failed(self) -> str:
        """Return what the cell shows if it is a failed one; a formula that gave an empty text is a "str"."""
        value = self._value.strip()
        if self._kind == "e":
            known = value if SHEET_ERROR.fullmatch(value) else UNKNOWN_ERROR
            return known if self._is_filled else ""
        return "" if value or self._kind not in NEVER_EMPTY else NOT_CALCULATED


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


@cache
def _number_column(letters: str) -> int:
    """Return the number of a column, from 1, as `name_column` names it."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number
