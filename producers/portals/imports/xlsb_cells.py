"""The cells of an .xlsb: a zip archive with a stream of records for each sheet, by [MS-XLSB].

The library that reads spreadsheets calls failed cells empty. A file that is built like no other has none.
"""

import posixpath
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, BinaryIO, Final
from zipfile import ZipFile

from producers.portals.imports.sheet_cells import ShownCells, check_area, measure, show_error
from producers.portals.imports.xlsx_parts import BROKEN as BROKEN_ZIP
from producers.portals.imports.xlsx_parts import read_links
from worker.contract.quoting import quote
from worker.errors import Fault, Invalid

WORKBOOK: Final = "xl/workbook.bin"
LINKS: Final = "xl/_rels/workbook.bin.rels"
ROW, SHEET = 0, 156
ERRORS: Final = (3, 11)  # a cell with an error, and a formula that gave one
CELLS: Final = (*range(2, 12), 62)  # those and all others that have a value
SHORT_CELLS: Final = range(13, 19)
MAX_SIZE: Final = 2**24  # bytes of a record
BROKEN: Final = (*BROKEN_ZIP, struct.error, UnicodeError)


def scan_xlsb(file: BinaryIO, sheet: str) -> ShownCells:
    """Return the failed cells of a sheet of an .xlsb; none of another file.

    Raises Invalid if a cell lies too far out, as of an .xlsx, or if some stand behind the one before without
    a column of their own, as SheetJS writes them: the library overlooks those.
    """
    failed, area, is_short = ShownCells(), None, False
    with suppress(*BROKEN), _open_sheet(file, sheet) as part:
        for row, column, kind, data in _read_cells(part):
            is_short = is_short or kind in SHORT_CELLS
            area = measure([(row + 1, column + 1)], area)
            if kind in ERRORS:
                failed.setdefault(row, []).append((column, 1, show_error(data[8])))
    if is_short:
        problem = f"the sheet {quote(sheet)} has cells without a column; save it as .xlsx or CSV UTF-8"
        raise Invalid([Fault("", problem)])
    check_area(sheet, area)
    return failed


def _read_cells(part: IO[bytes]) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield row and column, from 0, of the cells with a value, and their records."""
    row = 0
    for kind, data in _read_records(part):
        if kind == ROW:
            (row,) = struct.unpack_from("<I", data)
        elif kind in CELLS or kind in SHORT_CELLS:
            yield row, struct.unpack_from("<I", data)[0] if kind in CELLS else 0, kind, data


def _read_records(part: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    while first := part.read(1):
        kind = first[0] if first[0] < 128 else first[0] & 127 | part.read(1)[0] << 7
        size, shift, byte = 0, 0, 128
        while byte & 128 and shift < 28:
            byte = part.read(1)[0]
            size |= (byte & 127) << shift
            shift += 7
        if size > MAX_SIZE:
            raise ValueError("a record is too long")
        yield kind, part.read(size)


@contextmanager
def _open_sheet(file: BinaryIO, sheet: str) -> Iterator[IO[bytes]]:
    """Give the part with the records of a sheet; raises KeyError."""
    with ZipFile(file) as archive:
        links = read_links(archive, LINKS)
        with archive.open(WORKBOOK) as book:
            names = dict(_read_sheet(data) for kind, data in _read_records(book) if kind == SHEET)
        with archive.open(posixpath.join("/xl", links[names[sheet]]).lstrip("/")) as part:
            yield part


def _read_sheet(data: bytes) -> tuple[str, str]:
    """Return the name of a sheet, and the id of its part."""
    id_, end = _read_text(data, 8)
    return _read_text(data, end)[0], id_


def _read_text(data: bytes, start: int) -> tuple[str, int]:
    end = start + 4 + 2 * struct.unpack_from("<I", data, start)[0]
    return data[start + 4 : end].decode("utf-16-le"), end
