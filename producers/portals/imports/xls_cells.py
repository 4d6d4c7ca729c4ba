"""The failed cells of an .xls: a stream of records inside of a compound file, by [MS-XLS] and [MS-CFB].

The library that reads spreadsheets calls them empty. A file that is built like no other has none.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final, NamedTuple

from producers.portals.imports.sheet_cells import FailedCell, show_error

MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
END_OF_CHAIN: Final = 0xFFFFFFFA  # and above it there are no sectors
FIRST_FAT_SECTORS: Final = 109  # are listed in the header
ENTRY: Final = 128  # bytes of an entry of the directory
STREAMS: Final = ("Workbook", "Book")
BEGIN, END, SHEET, FORMULAS, BOOL_OR_ERROR = 0x809, 0x0A, 0x85, (0x06, 0x206, 0x406), 0x205
UNICODE: Final = 0x600  # the version whose names may be in UTF-16
BROKEN: Final = (struct.error, IndexError, ValueError)


class _Record(NamedTuple):
    kind: int
    data: bytes


def find_failed_xls_cells(file: BinaryIO, sheet: str) -> Iterator[FailedCell]:
    """Yield the failed cells of a sheet of an .xls, row by row; none of another file."""
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        return
    file.seek(0)
    found = list[FailedCell]()
    with suppress(*BROKEN):
        book = _read_workbook(file.read())
        for record in _read_substream(book, _find_sheet(book, sheet)):
            if (code := _error_of(record)) is not None:
                row, column = struct.unpack_from("<HH", record.data)
                found.append(FailedCell(row, column, show_error(code)))
    yield from sorted(found)


def _error_of(record: _Record) -> int | None:
    """Return the error that a cell has as its value, or that its formula gave."""
    data = record.data
    if record.kind == BOOL_OR_ERROR:
        return data[6] if data[7] else None
    if record.kind in FORMULAS and data[6] == 2 and data[12:14] == b"\xff\xff":
        return data[8]
    return None


def _read_records(book: bytes, start: int) -> Iterator[_Record]:
    while start + 4 <= len(book):
        kind, size = struct.unpack_from("<HH", book, start)
        yield _Record(kind, book[start + 4 : start + 4 + size])
        start += 4 + size


def _read_substream(book: bytes, start: int) -> Iterator[_Record]:
    """Yield the records of one sheet, without those of the charts that are inside of it."""
    depth = 0
    for record in _read_records(book, start):
        depth += (record.kind == BEGIN) - (record.kind == END)
        if not depth:
            return
        if depth == 1:
            yield record


def _find_sheet(book: bytes, name: str) -> int:
    """Return where the records of the sheet of this name begin."""
    records = _read_substream(book, 0)
    (version,) = struct.unpack_from("<H", next(records).data)
    for record in records:
        if record.kind == SHEET and _read_name(record.data, version) == name:
            return int(struct.unpack_from("<I", record.data)[0])
    raise ValueError(name)


def _read_name(data: bytes, version: int) -> str:
    if version < UNICODE:
        return data[7 : 7 + data[6]].decode("cp1252", "replace")
    if data[7] & 1:
        return data[8 : 8 + 2 * data[6]].decode("utf-16-le", "replace")
    return data[8 : 8 + data[6]].decode("latin-1")


# --- the compound file


def _read_workbook(raw: bytes) -> bytes:
    """Return the stream of the workbook; raises ValueError if there is none, or it is damaged."""
    size = 1 << struct.unpack_from("<H", raw, 30)[0]
    count, directory = struct.unpack_from("<II", raw, 44)
    more = struct.unpack_from("<I", raw, 68)[0]
    listed = list(struct.unpack_from(f"<{FIRST_FAT_SECTORS}I", raw, 76))
    while more < END_OF_CHAIN and len(listed) < count:
        *sectors, more = struct.unpack(f"<{size // 4}I", _sector(raw, more, size))
        listed += sectors
    table = b"".join(_sector(raw, number, size) for number in listed[:count] if number < END_OF_CHAIN)
    fat = struct.unpack(f"<{len(table) // 4}I", table)
    entries = _read_chain(raw, fat, directory, size)
    for at in range(0, len(entries), ENTRY):
        length = struct.unpack_from("<H", entries, at + 64)[0]
        if entries[at : at + max(0, length - 2)].decode("utf-16-le", "replace") in STREAMS:
            start, stated = struct.unpack_from("<II", entries, at + 116)
            return _read_chain(raw, fat, start, size)[:stated]
    raise ValueError("there is no workbook")


def _read_chain(raw: bytes, fat: tuple[int, ...], number: int, size: int) -> bytes:
    sectors = list[bytes]()
    while number < END_OF_CHAIN:
        if len(sectors) > len(fat):
            raise ValueError("a chain of sectors has no end")
        sectors.append(_sector(raw, number, size))
        number = fat[number]
    return b"".join(sectors)


def _sector(raw: bytes, number: int, size: int) -> bytes:
    return raw[(number + 1) * size : (number + 2) * size]
