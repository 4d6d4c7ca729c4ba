"""Where an import's rejected lines go: a file that exists only if there are any, and replaces no other."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self, TextIO

import click

from producers.portals.imports import InputRow
from worker.errors import Fault, RelationsError

MAX_PRINTED: Final = 10  # rejected lines that are printed on stderr; the file has all
KEYS: Final = {"line", "faults", "text"}
MAX_LINE: Final = 2**24  # bytes of a rejected line


class RejectsFile:
    """Writes rejected lines as NDJSON and prints the first few.

    They are written beside the path, and renamed at the end or when the import is interrupted; only rejected
    lines of an earlier import are ever replaced. A path that is no file, such as a pipe, is written to
    directly. Raises UsageError for one that cannot be used.
    """

    def __init__(self, path: Path, *, quiet: bool) -> None:
        self.path, self._quiet, self._written = path, quiet, 0
        self._direct = path.exists() and not path.is_file()
        self._target = path if self._direct else path.resolve()
        self._beside = self._target.with_name(f".rejects-{os.getpid()}-{os.urandom(4).hex()}")
        self._file: TextIO | None = None
        if fault := _find_fault(self._target, direct=self._direct):
            raise click.UsageError(
                f"Rejected lines cannot go to {path}: {fault}. Name another file with --rejects."
            )

    def __call__(self, row: InputRow, faults: Sequence[Fault]) -> None:
        """Write a rejected line with its faults."""
        document = {"line": row.line, "faults": [fault.to_dict() for fault in faults], "text": row.text}
        with self._name_failures():
            self._file = self._file or self._open()
            self._file.write(json.dumps(document, ensure_ascii=False) + "\n")
        self._written += 1
        if self._quiet:
            return
        if self._written <= MAX_PRINTED:
            click.echo(f"line {row.line}: {'; '.join(map(str, faults))}", err=True)
        elif self._written == MAX_PRINTED + 1:
            click.echo(f"More lines are rejected than are printed here; all go to {self.path}.", err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            with self._name_failures():
                self._file.close()
                if not self._direct:
                    self._beside.replace(self._target)

    def _open(self) -> TextIO:
        return (self._target if self._direct else self._beside).open("w", encoding="utf-8")

    @contextmanager
    def _name_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"rejected lines cannot be written to {self.path}: {error.strerror}"
            raise RelationsError(message) from None


def _find_fault(path: Path, *, direct: bool) -> str:
    """Return why this path cannot be used, by trying; empty if it can."""
    try:
        if path.name == "-":
            return "a dash would be a file of that name; /dev/stdout prints them"
        if path.is_dir():
            return "it is a directory"
        if path.exists() and not os.access(path, os.W_OK):
            return "it may not be written"
        if direct:
            return ""
        with tempfile.TemporaryFile(dir=path.parent):
            is_safe = _has_only_rejects(path)
            return "" if is_safe else "that file is there, and is not one of rejected lines"
    except OSError as error:
        return (error.strerror or str(error)).lower()


def _has_only_rejects(path: Path) -> bool:
    """Return whether nothing can be lost: no file, an empty one, or an earlier import's rejected lines."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        first = file.readline(MAX_LINE)
    try:
        return not first or set(json.loads(first)) == KEYS
    except (ValueError, TypeError, RecursionError):
        return False
