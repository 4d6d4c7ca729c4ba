"""An import's two files: the one that is read, looked at once before, and the one that rejected lines are written to."""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from itertools import count
from pathlib import Path
from typing import IO, BinaryIO, Final, TextIO, cast

import click

from producers.portals.imports import Reject, Row, Survey, survey
from worker.errors import Fault

TOLD: Final = 10  # rejected lines that are told on stderr; the file has all
DASH: Final = "-"


@contextmanager
def opened(file: str) -> Iterator[tuple[TextIO, Survey]]:
    """The text, and what it is. Standard input is kept on disk meanwhile, because only its whole content tells its lines again."""
    with ExitStack() as stack:
        try:
            binary = cast(BinaryIO, stack.enter_context(_binary(file)))
            found = survey(sys.stdin.buffer, binary.write) if file == DASH else survey(binary)
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {error.strerror}.") from None
        binary.seek(0)
        yield stack.enter_context(TextIOWrapper(binary, encoding=found.encoding, newline="")), found


@contextmanager
def rejecting(path: Path, *, quiet: bool) -> Iterator[Reject]:
    """Writes rejected lines as NDJSON and tells the first few; without any there is no such file at the end."""
    with ExitStack() as stack:
        path.unlink(missing_ok=True)  # of an earlier run
        files, told = list[TextIO](), count(1)

        def reject(row: Row, faults: Sequence[Fault]) -> None:
            if not files:
                files.append(stack.enter_context(path.open("w", encoding="utf-8")))
            document = {"line": row.line, "faults": [fault._asdict() for fault in faults], "text": row.text}
            files[0].write(json.dumps(document, ensure_ascii=False) + "\n")
            if next(told) <= TOLD and not quiet:
                click.echo(f"line {row.line}: {'; '.join(map(str, faults))}", err=True)

        yield reject


def _binary(file: str) -> IO[bytes]:
    return tempfile.TemporaryFile() if file == DASH else Path(file).open("rb")
