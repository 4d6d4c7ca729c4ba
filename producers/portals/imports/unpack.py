"""Takes the text out of a compressed file or a spreadsheet, which are known by their first bytes."""

import bz2
import csv
import gzip
import lzma
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, time
from io import TextIOWrapper
from itertools import chain, repeat
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, cast
from zipfile import BadZipFile, ZipFile

from producers.portals.imports.ods_cells import scan_ods
from producers.portals.imports.sheet_cells import ShownCells
from producers.portals.imports.xls_cells import OLD_EXCEL, find_failed_xls_cells, has_password
from producers.portals.imports.xlsb_cells import scan_xlsb
from producers.portals.imports.xlsx_parts import BAD_ZIP, scan_xlsx
from worker.contract.quoting import quote
from worker.errors import Fault, Invalid

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

COMPRESSIONS: Final[Mapping[bytes, tuple[str, Callable[[BinaryIO], Any]]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\x00": ("xz", lzma.open),
}
OTHERS: Final = {
    b"\x28\xb5\x2f\xfd": "a zstd archive; read it from `zstd -dc FILE`",
    b"\x1f\x9d": "a file of compress; read it from `uncompress -c FILE`",
    b"\x04\x22\x4d\x18": "an lz4 archive; read it from `lz4 -dc FILE`",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"Rar!\x1a\x07": "a RAR archive; unpack it first",
    b"%PDF": "a PDF document; save the table as CSV UTF-8",
    **dict.fromkeys((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "a picture; save the table as CSV UTF-8"),
}
TAR: Final = b"ustar"
TAR_PLACE: Final = 257
MAX_LAYERS: Final = 3  # of compression, one inside of the other: each is unpacked to disk
ZIP: Final = b"PK\x03\x04"  # .xlsx, .xlsb and .ods are zip archives too
MARKUP: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<([!?]|(html|head|meta|body|table)\b)", re.IGNORECASE)
NUMBERS: Final = b"Index/"
MAC_FOLDER: Final = "__MACOSX/"
PASSWORD: Final = "EncryptedPackage".encode("utf-16-le")  # the part that an encrypted .xlsx consists of
MANIFEST, ENCRYPTED = "META-INF/manifest.xml", b"encryption-data"  # of an .ods, what says so of its parts
PROTECTED: Final = "the spreadsheet is protected by a password; save it without one"
SHEETS: Final = ("[Content_Types].xml", "xl/", "content.xml")  # members of .xlsx and .xlsb, and of .ods
ZIP_PARTS: Final = (b"[Content_Types].xml", b"xl/", b"application/vnd.oasis.opendocument.spreadsheet")
PANIC: Final = "PanicException"  # what the library ends in over some damaged files; it can be named only so
LINE_END: Final = re.compile(r"\r\n?|\n")
HEAD: Final = 4096  # bytes in which these parts are named
INSTALL: Final = "install `onoffice-relations[spreadsheets]`, or save it as CSV UTF-8"


def unpack(file: BinaryIO, sheet: str = "", encoding: str = "") -> BinaryIO:
    """Return the file itself at its beginning, or a temporary one with its text.

    A spreadsheet becomes CSV, row by row, of the sheet of that name, or of the only one that is not empty.
    Raises Invalid for what cannot be read, also a spreadsheet that is to have an encoding.
    """
    text = _decompress(file)
    if not _is_spreadsheet(text):
        if sheet:
            raise Invalid([Fault("", "--sheet is for spreadsheets, and this is text")])
        return text
    if encoding:
        raise Invalid([Fault("", "--encoding is for text, and this is a spreadsheet")])
    return _read_sheet(text, sheet)


def unpack_text(file: BinaryIO) -> BinaryIO:
    """Return the text of a file that may be compressed, and is no spreadsheet."""
    text = _decompress(file)
    if _is_spreadsheet(text):
        raise Invalid([Fault("", "expected text, got a spreadsheet; `relations import` reads it")])
    return text


def _decompress(file: BinaryIO) -> BinaryIO:
    """Return the file itself, or a temporary one; raises Invalid for what is neither text nor spreadsheet."""
    for _ in range(MAX_LAYERS + 1):
        head = _read_head(file)
        if (unpacked := _unpack_layer(file, head)) is None:
            if (other := _find_other(head)) and not _is_spreadsheet(file):
                raise Invalid([Fault("", f"expected text, got {other}")])
            return file
        file = unpacked
    raise Invalid([Fault("", f"is compressed more than {MAX_LAYERS} times over; unpack it first")])


def _unpack_layer(file: BinaryIO, head: bytes) -> BinaryIO | None:
    """Return what a compressed file or an archive of one holds; None of any other, and of a spreadsheet."""
    for mark, (name, open_file) in COMPRESSIONS.items():
        if head.startswith(mark):
            return _copy(open_file(file), name)
    if not head.startswith(ZIP) or NUMBERS in head or _is_spreadsheet(file):
        return None
    with _open_only_member(file) as member:
        return _copy(member, "zip")


@contextmanager
def _open_only_member(file: BinaryIO) -> Iterator[IO[bytes]]:
    """Give the only file of a zip archive, without what a Mac adds to each; raises Invalid."""
    try:
        archive = ZipFile(file)
        names = [each.filename for each in archive.infolist() if not each.is_dir()]
        names = [name for name in names if not name.startswith(MAC_FOLDER)]
        problem = f"holds {len(names)} files" if len(names) != 1 else ""
        member = None if problem else archive.open(names[0])
    except BAD_ZIP as error:
        member, problem = None, f"cannot be unpacked: {error}"
    except RuntimeError:
        member, problem = None, "is protected by a password"
    if member is None:
        hint = "read one from `unzip -p FILE NAME`"
        raise Invalid([Fault("", f"expected text, got a zip archive that {problem}; {hint}")])
    with member:
        yield member


def _read_head(file: BinaryIO) -> bytes:
    head = file.read(HEAD)
    file.seek(0)
    return head


def _is_spreadsheet(file: BinaryIO) -> bool:
    head = _read_head(file)
    if not head.startswith(ZIP):
        return head.startswith(OLD_EXCEL)
    try:  # of an archive with a spreadsheet in it, the head may have its parts
        members = ZipFile(file).namelist()
    except BAD_ZIP:
        return any(part in head for part in ZIP_PARTS)
    finally:
        file.seek(0)
    return any(name.startswith(SHEETS) for name in members)


def _find_other(head: bytes) -> str:
    """Return what a file is by its beginning, and what to do about it; empty if it may be a table."""
    if MARKUP.match(head):
        return "HTML or XML, which some programs name .xls; open it in a spreadsheet, save it as CSV UTF-8"
    if head.startswith(ZIP):
        return "a document of Numbers; export it as CSV"
    if head.startswith(TAR, TAR_PLACE):
        return "a tar archive; read one file from `tar -xOf FILE NAME`"
    return next((what for mark, what in OTHERS.items() if head.startswith(mark)), "")


def _copy(packed: IO[bytes], name: str) -> BinaryIO:
    text = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 the caller closes it
    try:
        shutil.copyfileobj(packed, text)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, BadZipFile, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # a full disk
            raise
        raise Invalid(
            [Fault("", f"cannot be unpacked, its {name} data are cut or damaged: {error}")]
        ) from None
    text.seek(0)
    return text


# --- spreadsheets


def _read_sheet(file: BinaryIO, name: str) -> BinaryIO:
    """Return the rows of a sheet as CSV."""
    try:
        from python_calamine import (  # an extra
            CalamineError,
            CalamineWorkbook,
            PasswordError,
            SheetVisibleEnum,
        )
    except ImportError:
        raise Invalid([Fault("", f"expected text, got a spreadsheet; {INSTALL}")]) from None
    _require_whole(file)
    ods = scan_ods(file)  # before the library reads all sheets at once
    file.seek(0)
    try:
        book = CalamineWorkbook.from_filelike(file)
        visible = [each.name for each in book.sheets_metadata if each.visible is SheetVisibleEnum.Visible]
        sheet, shown = _choose_sheet(file, book, visible, name)
    except BaseException as error:
        if not (isinstance(error, CalamineError | OSError) or type(error).__name__ == PANIC):
            raise
        is_protected = isinstance(error, PasswordError) or has_password(file)
        file.seek(0)
        if is_protected or PASSWORD in file.read():
            problem = PROTECTED
        else:
            problem = f"the spreadsheet cannot be read: {error}; save it as CSV UTF-8"
        raise Invalid([Fault("", problem)]) from None
    shown |= ods.get(sheet.name, {}) | find_failed_xls_cells(file, book.sheet_names.index(sheet.name))
    return _write_csv(_show_cells(_list_rows(sheet), shown))


def _require_whole(file: BinaryIO) -> None:
    """Raise Invalid for an archive that is damaged, which the library would take as it is, or encrypted."""
    problem = ""
    with suppress(*BAD_ZIP), ZipFile(file) as archive:
        problem = _find_damage(archive)
    if problem:
        raise Invalid([Fault("", problem)])
    file.seek(0)


def _find_damage(archive: ZipFile) -> str:
    """Return why the parts of a spreadsheet cannot be read as they are, and what to do; "" if they can."""
    try:
        damaged = archive.testzip() or ""
        if not damaged and MANIFEST in archive.namelist() and ENCRYPTED in archive.read(MANIFEST):
            return PROTECTED
    except NotImplementedError:  # which is a RuntimeError; the library says what it cannot read
        return ""
    except RuntimeError:
        return PROTECTED
    except (zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        damaged = str(error)
    return damaged and f"the spreadsheet is cut or damaged ({damaged}); save it anew, or as CSV UTF-8"


def _choose_sheet(
    file: BinaryIO, book: "CalamineWorkbook", visible: Sequence[str], name: str
) -> tuple["CalamineSheet", ShownCells]:
    """Return the sheet of that name, or the only one that is filled, and failed cells of .xlsx and .xlsb."""
    wanted = [name] if name in visible else visible
    failed = {each: scan_xlsx(file, each) | scan_xlsb(file, each) for each in wanted}
    sheets = list(map(book.get_sheet_by_name, wanted))
    filled = [sheet for sheet in sheets if sheet.height or failed[sheet.name]]
    if wanted != [name] and (name or len(filled) > 1 or not sheets):
        listed = ", ".join(map(quote, visible))
        problem = f"there is no sheet {quote(name)}" if name else f"{len(filled)} sheets are filled"
        raise Invalid([Fault("", f"{problem}; say which with --sheet: {listed}")])
    sheet = (filled or sheets)[0]
    return sheet, failed[sheet.name]


def _list_rows(sheet: "CalamineSheet") -> Iterator[list[Any]]:
    """Yield the rows from the first column on: the library begins at the first that is not empty."""
    margin = [""] * (sheet.start or (0, 0))[1]
    return ([*margin, *row] for row in sheet.iter_rows())


def _show_cells(rows: Iterable[list[Any]], shown: ShownCells) -> Iterator[list[Any]]:
    """Yield the rows with what these cells show, and behind them those that have no others."""
    last = max(shown, default=-1)
    for number, row in enumerate(chain(rows, repeat(None))):
        if row is None and number > last:
            return
        cells = row or []
        for column, count, text in shown.get(number, ()):
            cells += [""] * (column + count - len(cells))
            cells[column : column + count] = [text] * count
        yield cells


def _write_csv(rows: Iterable[Sequence[object]]) -> BinaryIO:
    binary = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 the caller closes it
    text = TextIOWrapper(binary, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_write_cell(cell) for cell in row] for row in rows)
    text.detach()
    binary.seek(0)
    return binary


def _write_cell(cell: object) -> str:
    """Return a cell's text in one line, so that the lines of the text are the rows of the sheet."""
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return LINE_END.sub(" ", str(cell))
