"""Spreadsheets as .xls, .xlsb and .ods, as small as their readers take them."""

import io
import struct
from collections.abc import Iterator
from xml.sax.saxutils import escape
from zipfile import ZipFile

from producers.portals.imports.sheet_cells import ERRORS
from tests.support.spreadsheets import PACKAGE, RELATIONS, Failed, Rows

CODES = {text: code for code, text in ERRORS.items()}
SECTOR, SMALL_SECTOR = 512, 64
END_OF_CHAIN, FAT_SECTOR, FREE = 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF
MIN_STREAM = 4096  # bytes below which a stream stands elsewhere
SHEET_NAME = "a"


# --- .xls


def make_xls(rows: Rows, *, is_small: bool = False, has_password: bool = False) -> bytes:
    """Return a workbook with one sheet; of its failed cells every second is a formula.

    One that `is_small` stands in small sectors, as LibreOffice, Excel and POI write it. One that says it has
    a password is not encrypted.
    """
    # Of RC4: its version, a salt, and two hashes by which a password is tried
    password = _record(0x2F, struct.pack("<HHH48x", 1, 1, 1)) if has_password else b""
    globals_end = 20 + len(password) + len(_bound_sheet(0)) + 4
    stream = _begin(5) + password + _bound_sheet(globals_end) + _record(0x0A)
    stream += _begin(0x10) + b"".join(_list_xls_cells(rows)) + _record(0x0A)
    if is_small:
        assert len(stream) < MIN_STREAM
        return _make_compound_file(stream, _small_table(stream))
    return _make_compound_file(stream.ljust(MIN_STREAM, b"\0"))


def _small_table(stream: bytes) -> bytes:
    """Return the table of the small sectors of a file with one small stream."""
    count = -(-len(stream) // SMALL_SECTOR)
    return struct.pack(f"<{count}I", *range(1, count), END_OF_CHAIN).ljust(SECTOR, b"\xff")


def _record(kind: int, data: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def _begin(kind: int) -> bytes:
    return _record(0x809, struct.pack("<HHHHII", 0x600, kind, 0, 0, 0, 0))


def _bound_sheet(start: int) -> bytes:
    name = SHEET_NAME.encode()
    return _record(0x85, struct.pack("<IBBBB", start, 0, 0, len(name), 0) + name)


def _list_xls_cells(rows: Rows) -> Iterator[bytes]:
    for number, row in enumerate(rows):
        for column, value in enumerate(row):
            place = struct.pack("<HHH", number, column, 0)
            if isinstance(value, Failed) and column % 2:
                result = struct.pack("<BBBBBBH", 2, 0, CODES[value.shown], 0, 0, 0, 0xFFFF)
                yield _record(0x06, place + result + struct.pack("<HIH", 0, 0, 0))
            elif isinstance(value, Failed):
                yield _record(0x205, place + bytes((CODES[value.shown], 1)))
            elif isinstance(value, str):
                yield _record(0x204, place + struct.pack("<HB", len(value), 0) + value.encode("latin-1"))
            else:
                yield _record(0x203, place + struct.pack("<d", value))


def _make_compound_file(stream: bytes, small_table: bytes = b"") -> bytes:
    """Return a compound file: header, sectors, directory, small sectors, and the stream `Workbook`."""
    count = -(-len(stream) // SECTOR)
    table = [FAT_SECTOR, END_OF_CHAIN, END_OF_CHAIN, *range(4, count + 3), END_OF_CHAIN]
    assert len(table) <= SECTOR // 4
    table += [FREE] * (SECTOR // 4 - len(table))
    header = struct.pack("<8s16xHHHHH6xIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6,
                         0, 1, 1, 0, MIN_STREAM, 2, 1, END_OF_CHAIN, 0)  # fmt: skip
    header += struct.pack("<109I", 0, *[FREE] * 108)
    size = len(stream)
    root = {"start": 3, "size": size} if small_table else {}
    directory = _entry("Root Entry", 5, child=1, **root)
    directory += _entry("Workbook", 2, start=0 if small_table else 3, size=size)
    body = header + struct.pack(f"<{SECTOR // 4}I", *table) + directory.ljust(SECTOR, b"\0")
    return body + small_table.ljust(SECTOR, b"\xff") + stream.ljust(count * SECTOR, b"\0")


def _entry(name: str, kind: int, *, child: int = FREE, start: int = END_OF_CHAIN, size: int = 0) -> bytes:
    text = f"{name}\0".encode("utf-16-le")
    return struct.pack("<64sHBBIII36xIQ", text, len(text), kind, 1, FREE, FREE, child, start, size)


# --- .xlsb


def make_xlsb(rows: Rows, *, first_row: int = 0, more: bytes = b"") -> bytes:
    """Return a workbook with one sheet; `more` are records behind its cells."""
    cells = b"".join(_list_xlsb_cells(rows, first_row))
    sheet = _binary(148, struct.pack("<4I", 0, 1, 0, 1)) + _binary(145) + cells + more + _binary(146)
    name = _wide("r1") + _wide(SHEET_NAME)
    bundle = _binary(156, struct.pack("<II", 0, 1) + name)
    book = _binary(153, bytes(12)) + bundle + _binary(144) + _binary(157, bytes(8)) + _binary(132)
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{PACKAGE}/content-types"/>')
        archive.writestr("xl/workbook.bin", book)
        link = f'<Relationship Id="r1" Type="{RELATIONS}/worksheet" Target="worksheets/sheet1.bin"/>'
        archive.writestr(
            "xl/_rels/workbook.bin.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">{link}</Relationships>',
        )
        archive.writestr("xl/worksheets/sheet1.bin", sheet)
    return packed.getvalue()


def make_xlsb_row(number: int) -> bytes:
    """Return the record that begins a row."""
    return _binary(0, struct.pack("<I21x", number))


def make_xlsb_number(column: int, value: float) -> bytes:
    """Return the record of a cell with a number."""
    return _binary(5, struct.pack("<IId", column, 0, value))


def make_xlsb_short_number(value: float) -> bytes:
    """Return the record of a cell that stands behind the one before, as SheetJS writes it."""
    return _binary(16, struct.pack("<Id", 0, value))


def _list_xlsb_cells(rows: Rows, first_row: int) -> Iterator[bytes]:
    for number, row in enumerate(rows, start=first_row):
        yield make_xlsb_row(number)
        for column, value in enumerate(row):
            place = struct.pack("<II", column, 0)
            if isinstance(value, Failed):
                more = struct.pack("<HII", 0, 0, 0) if column % 2 else b""
                yield _binary(11 if column % 2 else 3, place + bytes((CODES[value.shown],)) + more)
            elif isinstance(value, str):
                yield _binary(6, place + _wide(value))
            else:
                yield make_xlsb_number(column, value)


def _binary(kind: int, data: bytes = b"") -> bytes:
    number = bytes((kind,)) if kind < 128 else bytes((kind & 127 | 128, kind >> 7))
    size = bytes((len(data),)) if len(data) < 128 else bytes((len(data) & 127 | 128, len(data) >> 7))
    return number + size + data


def _wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


# --- .ods

NAMES = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
    'xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
)
ODS = "application/vnd.oasis.opendocument.spreadsheet"


def make_ods(rows: Rows, more: str = "") -> bytes:
    """Return a document with one sheet; `more` are rows behind these."""
    lines = "".join(f"<table:table-row>{''.join(map(_ods_cell, row))}</table:table-row>" for row in rows)
    table = f'<table:table table:name="{SHEET_NAME}">{lines}{more}</table:table>'
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr("mimetype", ODS)
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        body = f"<office:body><office:spreadsheet>{table}</office:spreadsheet></office:body>"
        archive.writestr("content.xml", f"<office:document-content {NAMES}>{body}</office:document-content>")
    return packed.getvalue()


def _ods_cell(value: str | float | Failed) -> str:
    if value == "":
        return "<table:table-cell/>"
    if isinstance(value, Failed):
        kind = 'office:value-type="string" office:string-value="" calcext:value-type="error"'
        shown = f"<text:p>{escape(value.shown)}</text:p>"
        return f'<table:table-cell table:formula="of:=NA()" {kind}>{shown}</table:table-cell>'
    if isinstance(value, str):
        shown = f"<text:p>{escape(value)}</text:p>"
        return f'<table:table-cell office:value-type="string">{shown}</table:table-cell>'
    return f'<table:table-cell office:value-type="float" office:value="{value}"/>'
