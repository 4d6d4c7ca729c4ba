"""An import's file, opened as rows; a stream is kept on disk, because the whole content names its lines."""

import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

import click

from ops.cli.import_steps.options import ImportOptions
from ops.cli.progress import show_progress
from producers.portals.imports import (
    REQUIRED,
    InputRow,
    RowDefaults,
    detect_format,
    read_rows,
    unpack,
    write_offset,
)
from worker.errors import Fault, Invalid

DASH: Final = "-"
LARGE: Final = 2**26  # bytes of a file whose reading is shown
LOOK_AFTER: Final = 500  # rows, after which is looked whether the file is as it was
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
STEM: Final = 40  # characters of a file's name in the default label


class OpenInput(NamedTuple):
    """A file's rows, what holds for all of them, and about how many lines there are."""

    rows: Iterator[InputRow]
    defaults: RowDefaults
    lines: int


@contextmanager
def open_input(file: str, options: ImportOptions, *, quiet: bool = True) -> Iterator[OpenInput]:
    """Open a file, or standard input for a dash; raises UsageError if it cannot be read.

    All of it is read once before, which of a large file is shown unless `quiet`.
    """
    with ExitStack() as stack:
        try:
            stream = sys.stdin.buffer if file == DASH else stack.enter_context(Path(file).open("rb"))
            kept = _make_seekable(stream, stack)
            binary = unpack(kept, options.sheet, options.encoding)
            if binary is not kept:
                stack.enter_context(binary)
            version = _get_version(binary)
            with show_progress("bytes read", version.size, quiet=quiet or version.size < LARGE) as report:
                format_ = detect_format(binary, options.encoding, report)
            binary.seek(0)
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {_explain(error)}.") from None
        # Everything can be decoded, unless it is changed now.
        text = TextIOWrapper(binary, encoding=format_.encoding, errors="surrogateescape", newline="")
        stack.enter_context(text)
        required = REQUIRED if options.account else ("account", *REQUIRED)
        rows = read_rows(text, options.table._replace(required=required))
        rows = (write_offset(row, options.zone) for row in _read_unchanged(rows, binary, version))
        yield OpenInput(rows, _identify(get_name(file), format_.digest, options), format_.lines)


def _explain(error: OSError) -> str:
    if error.errno not in NO_ROOM:
        return error.strerror or str(error)
    room = f"what is piped or unpacked needs room in {tempfile.gettempdir()}, or where TMPDIR says"
    return f"{error.strerror}; {room}"


class _Version(NamedTuple):
    """What of a file differs once it was written to."""

    size: int
    written: int


def _get_version(binary: BinaryIO) -> _Version:
    stat = os.fstat(binary.fileno())
    return _Version(stat.st_size, stat.st_mtime_ns)


def _read_unchanged(rows: Iterator[InputRow], binary: BinaryIO, version: _Version) -> Iterator[InputRow]:
    """Yield the rows; raises Invalid once the file is changed, for its content is what they are known by.

    So does a file that can be read no further: it may lie on another machine.
    """
    try:
        for number, row in enumerate(rows):
            if not number % LOOK_AFTER:
                _require_version(binary, version)
            yield row
        _require_version(binary, version)
    except OSError as error:
        raise Invalid([Fault("", f"the file can be read no further: {_explain(error)}")]) from None


def _require_version(binary: BinaryIO, version: _Version) -> None:
    if _get_version(binary) != version:
        raise Invalid([Fault("", "the file was written to while it was read; import it once it is whole")])


def get_name(file: str) -> str:
    """Return what to call the file: its name, or `stdin` for a stream that has none."""
    return "stdin" if file == DASH or file.startswith("/dev/") else Path(file).name


def require_file(file: str) -> None:
    """Raise UsageError if there is no such file: before any other that is made beside it is missed."""
    try:
        if file != DASH:
            Path(file).stat()
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}.") from None


def is_input(file: str, path: Path) -> bool:
    """Return whether the path leads to the file that is read, by whatever name or link."""
    try:
        read = os.fstat(sys.stdin.fileno()) if file == DASH else Path(file).stat()
        return os.path.samestat(read, path.stat())
    except (OSError, ValueError):  # one of them is not there, or standard input is no file
        return False


def _make_seekable(binary: BinaryIO, stack: ExitStack) -> BinaryIO:
    if binary is not sys.stdin.buffer and binary.seekable():
        return binary
    kept = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
    shutil.copyfileobj(binary, kept)
    kept.seek(0)
    return kept


def _identify(name: str, digest: str, options: ImportOptions) -> RowDefaults:
    """Return what the lines are known by: the content, and how it is read if options say so."""
    table = options.table
    meaning = [sorted(table.mapping.items()), sorted(table.constants.items())]
    choices: list[Any] = [table.header_row, table.has_index] if table.header_row or table.has_index else []
    more = {"encoding": options.encoding, "time_zone": options.zone and options.zone.key}
    choices += [[name, value] for name, value in more.items() if value]
    if any(meaning) or choices:
        words = json.dumps([digest, *meaning, *choices])
        digest = sha256(words.encode()).hexdigest()[:16]
    stem = "".join(char if char.isprintable() else "_" for char in name[:STEM])
    return RowDefaults(digest, options.account, options.batch or f"{stem}-{digest[:8]}")
