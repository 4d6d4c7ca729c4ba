"""An import's file, looked at once before it is read; what comes as a stream is kept on disk meanwhile."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Final, TextIO, cast

import click

from producers.portals.imports import FileFormat, detect_format

DASH: Final = "-"


@contextmanager
def opened(file: str) -> Iterator[tuple[TextIO, FileFormat]]:
    """The text, and what it is. A stream is kept, because only its whole content tells its lines again."""
    with ExitStack() as stack:
        try:
            binary = _seekable(
                sys.stdin.buffer if file == DASH else stack.enter_context(Path(file).open("rb")), stack
            )
            found = detect_format(binary)
            binary.seek(0)
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {error.strerror}.") from None
        yield stack.enter_context(TextIOWrapper(binary, encoding=found.encoding, newline="")), found


def name_of(file: str) -> str:
    """What to call it: its name, unless it is a stream that has none."""
    return "stdin" if file == DASH or file.startswith("/dev/") else Path(file).name


def same(file: str, path: Path) -> bool:
    """Whether this path leads to the file that is read, by whatever name or link."""
    try:
        read = os.fstat(sys.stdin.fileno()) if file == DASH else Path(file).stat()
        return os.path.samestat(read, path.stat())
    except (OSError, ValueError):  # one of them is not there, or standard input is no file
        return False


def _seekable(binary: BinaryIO, stack: ExitStack) -> BinaryIO:
    if binary is not sys.stdin.buffer and binary.seekable():
        return binary
    kept = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
    shutil.copyfileobj(binary, kept)
    kept.seek(0)
    return kept
