"""Where an import's rejected lines go: a file that is there only when there are any, and that takes no other file's place."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

import click

from producers.portals.imports import InputRow
from worker.errors import Fault, RelationsError

TOLD: Final = 10  # rejected lines that are told on stderr; the file has all
KEYS: Final = {"line", "faults", "text"}
LONGEST: Final = 2**24  # bytes of a rejected line


class Rejects:
    """Writes rejected lines as NDJSON and tells the first few.

    They are written beside the path, and renamed at the end or when it is interrupted; only rejected lines of an earlier import are
    ever replaced. A path that is no file, such as a pipe, is written to directly. Raises UsageError for one that cannot be used.
    """

    def __init__(self, path: Path, *, quiet: bool) -> None:
        self.path, self._quiet, self._told = path, quiet, count(1)
        self._direct = path.exists() and not path.is_file()
        self._target = path if self._direct else path.resolve()
        self._beside = self._target.with_name(f".rejects-{os.getpid()}-{os.urandom(4).hex()}")
        self._file: TextIO | None = None
        if fault := _fault(self._target, direct=self._direct):
            raise click.UsageError(
                f"Rejected lines cannot go to {path}: {fault}. Name another file with --rejects."
            )

    def __call__(self, row: InputRow, faults: Sequence[Fault]) -> None:
        """This line, for these reasons."""
        document = {"line": row.line, "faults": [fault._asdict() for fault in faults], "text": row.text}
        with self._writing():
            self._file = self._file or (self._target if self._direct else self._beside).open(
                "w", encoding="utf-8"
            )
            self._file.write(json.dumps(document, ensure_ascii=False) + "\n")
        if next(self._told) <= TOLD and not self._quiet:
            click.echo(f"line {row.line}: {'; '.join(map(str, faults))}", err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            with self._writing():
                self._file.close()
                if not self._direct:
                    self._beside.replace(self._target)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RelationsError(
                f"rejected lines cannot be written to {self.path}: {error.strerror}"
            ) from None


def _fault(path: Path, *, direct: bool) -> str:
    """Why this path cannot be used, by trying; empty if it can."""
    try:
        if path.is_dir():
            return "it is a directory"
        if path.exists() and not os.access(path, os.W_OK):
            return "it may not be written"
        if direct:
            return ""
        with tempfile.TemporaryFile(dir=path.parent):
            return "" if _ours(path) else "that file is there, and is not one of rejected lines"
    except OSError as error:
        return (error.strerror or str(error)).lower()


def _ours(path: Path) -> bool:
    """Whether there is nothing to lose: no file, an empty one, or an earlier import's rejected lines."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        first = file.readline(LONGEST)
    try:
        return not first or set(json.loads(first)) == KEYS
    except (ValueError, TypeError, RecursionError):
        return False
