"""The cells of an .xlsx whose formula has failed: the library that reads spreadsheets calls them empty."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import IO, BinaryIO, Final
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

BLOCK: Final = 2**20  # bytes in memory at once
MARKS: Final = (b't="e"', b"t='e'")  # of a cell that holds an error
WORKBOOK: Final = "xl/workbook.xml"
LINKS: Final = "xl/_rels/workbook.xml.rels"
PLACE: Final = re.compile("([A-Z]{1,3})([0-9]{1,7})")

Errors = Mapping[tuple[int, int], str]
"""What failed cells show, such as `#REF!`, by row and column, from 0."""


def find_sheet_errors(file: BinaryIO, sheet: str) -> Errors:
    """Return the failed cells of a sheet; none of a file that is no .xlsx, or is built like no other."""
    try:
        with ZipFile(file) as archive:
            part = _find_part(archive, sheet)
            with archive.open(part) as xml:
                if not _holds_mark(xml):  # nearly always, and found out ten times as fast
                    return {}
            with archive.open(part) as xml:
                return dict(_find_errors(xml))
    except (BadZipFile, KeyError, ElementTree.ParseError):  # .xls, .xlsb and .ods have no such parts
        return {}


def _find_part(archive: ZipFile, sheet: str) -> str:
    """Return the path of a sheet inside of the archive; raises KeyError."""
    links = {link.get("Id"): link.get("Target", "") for link in _read(archive, LINKS)}
    for each in _read(archive, WORKBOOK).iterfind("{*}sheets/{*}sheet"):
        if each.get("name") == sheet:
            ids = [value for name, value in each.items() if name.endswith("}id")]
            return posixpath.join("/xl", links["".join(ids)]).lstrip("/")
    raise KeyError(sheet)


def _read(archive: ZipFile, part: str) -> ElementTree.Element:
    return ElementTree.fromstring(archive.read(part))  # noqa: S314 - expat bounds what entities grow to


def _holds_mark(xml: IO[bytes]) -> bool:
    rest = b""
    while block := xml.read(BLOCK):
        if any(mark in rest + block for mark in MARKS):
            return True
        rest = block[1 - len(MARKS[0]) :]
    return False


def _find_errors(xml: IO[bytes]) -> Iterator[tuple[tuple[int, int], str]]:
    for _, row in ElementTree.iterparse(xml):  # noqa: S314
        if row.tag.endswith("}row"):
            for cell in row.iterfind("{*}c[@t='e']"):
                if place := PLACE.fullmatch(cell.get("r", "")):
                    yield (int(place[2]) - 1, _read_column(place[1]) - 1), cell.findtext("{*}v", "")
            row.clear()


def _read_column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def name_column(number: int) -> str:
    """Return the letters of a column, which are counted from 1."""
    letters = ""
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
