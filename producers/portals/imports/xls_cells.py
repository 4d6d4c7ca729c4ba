"""The failed cells of an .xls: a stream of records inside of a compound file, by [MS-XLS] and [MS-CFB].

The library that reads spreadsheets calls them empty. A file that is built like no other has none.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO, Final, NamedTuple

from producers.portals.imports.sheet_cells import ShownCells, show_error

OLD_EXCEL: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
END_OF_CHAIN: Final = 0xFFFFFFFA  # and above it there are no sectors
FIRST_FAT_SECTORS: Final = 109  # are listed in the header
ENTRY: Final = 128  # bytes of an entry of the directory
SIZES: Final = {6: 64, 9: 512, 12: 4096}  # of sectors, by how they are written; there are no others
BEGIN, END, SHEET, PASSWORD, FORMULAS, BOOL_OR_ERROR = 0x809, 0x0A, 0x85, 0x2F, (0x06, 0x206, 0x406), 0x205
BROKEN: Final = (struct.error, IndexError, KeyError, ValueError)


class _Record(NamedTuple):
    kind: int
    data: bytes


def find_failed_xls_cells(file: BinaryIO, sheet: int) -> ShownCells:
    """Return the failed cells of a sheet, counted from 0, of an .xls; none of another file."""
    found = ShownCells()
    file.seek(0)
    if file.read(len(OLD_EXCEL)) != OLD_EXCEL:
        return found
    file.seek(0)
    with suppress(*BROKEN):
        book = _read_workbook(file.read())
        for record in _read_substream(book, _find_sheet(book, sheet)):
            if (code := _error_of(record)) is not None:
                row, column = struct.unpack_from("<HH", record.data)
                found.setdefault(row, []).append((column, 1, show_error(code)))
    return found


def has_password(file: BinaryIO) -> bool:
    """Return whether a file is an .xls that is protected by a password."""
    file.seek(0)
    with suppress(*BROKEN):
        return any(record.kind == PASSWORD for record in _read_substream(_read_workbook(file.read()), 0))
    return False


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


def _find_sheet(book: bytes, number: int) -> int:
    """Return where the records of a sheet begin."""
    places = (record.data for record in _read_substream(book, 0) if record.kind == SHEET)
    return int(struct.unpack_from("<I", [*places][number])[0])


# --- the compound file


class _Sectors(NamedTuple):
    """Pieces of equal size, and of each the number of the one that follows."""

    raw: bytes
    size: int
    following: Sequence[int]

    def read(self, number: int) -> bytes:
        """Return the stream that begins in a sector; raises ValueError if it has no end."""
        pieces = list[bytes]()
        while number < END_OF_CHAIN:
            if len(pieces) > len(self.raw) // self.size:
                raise ValueError("a chain of sectors has no end")
            pieces.append(self.raw[number * self.size : (number + 1) * self.size])
            number = self.following[number]
        return b"".join(pieces)


def _read_workbook(raw: bytes) -> bytes:
    """Return the stream of the workbook; raises ValueError if there is none, or it is damaged."""
    size, small_size = (SIZES[power] for power in struct.unpack_from("<HH", raw, 30))
    directory, min_size, small_table = struct.unpack_from("<I4xII", raw, 48)
    sectors = _read_sectors(raw, size)
    entries = dict(_read_entries(sectors.read(directory)))
    start, stated = entries.get("Workbook") or entries["Book"]
    if stated < min_size:  # it stands in the stream of the root, in sectors of its own
        following = _numbers(sectors.read(small_table))
        sectors = _Sectors(sectors.read(entries["Root Entry"][0]), small_size, following)
    return sectors.read(start)[:stated]


def _read_sectors(raw: bytes, size: int) -> _Sectors:
    """Return the sectors of a file, which stand behind one with its header."""
    (count,), (more,) = struct.unpack_from("<I", raw, 44), struct.unpack_from("<I", raw, 68)
    body, listed = raw[size:], list(struct.unpack_from(f"<{FIRST_FAT_SECTORS}I", raw, 76))
    while more < END_OF_CHAIN and len(listed) < min(count, len(body) // size):
        *further, more = _numbers(body[more * size : (more + 1) * size])
        listed += further
    table = (body[at * size : (at + 1) * size] for at in listed[:count] if at < END_OF_CHAIN)
    return _Sectors(body, size, _numbers(b"".join(table)))


def _read_entries(directory: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the names of streams, with where each begins and how many bytes it has."""
    for at in range(0, len(directory), ENTRY):
        length, start, size = struct.unpack_from("<H50xII", directory, at + 64)
        yield directory[at : at + max(0, length - 2)].decode("utf-16-le", "replace"), (start, size)


def _numbers(data: bytes) -> Sequence[int]:
    return struct.unpack(f"<{len(data) // 4}I", data)
