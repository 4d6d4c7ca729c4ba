"""What is printed: JSON for programs, tables for people; and nothing that a terminal would obey, or refuse.

Reasons, ids, file names and messages of the API come from others. Our own colours pass.
"""

import codecs
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import click

from worker.contract.quoting import make_printable
from worker.errors import RelationsError

COLOURS: Final = re.compile(r"(\x1b\[(?:0|1|2|3[1-7])m)")  # as `click.style` writes them


class SafeWriter(io.TextIOWrapper):
    """A stream of text that escapes what a terminal would obey, and what its encoding lacks.

    `original` is the stream below, for what draws on the terminal itself.
    """

    def __init__(self, original: TextIO) -> None:
        self.original = original
        encoding = getattr(original, "encoding", None) or "utf-8"
        if codecs.lookup(encoding).name == "ascii":  # click would write past it, in UTF-8
            encoding = "utf-8"
        super().__init__(original.buffer, encoding, "backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        """Write the text."""
        pieces = COLOURS.split(text)
        pieces[::2] = map(make_printable, pieces[::2])
        try:
            super().write("".join(pieces))
        except BrokenPipeError:  # its reader has ended, which is no fault
            raise
        except OSError as error:
            self._drop_the_rest()
            raise RelationsError(f"what was to be printed cannot be written: {error.strerror}") from None
        return len(text)

    def _drop_the_rest(self) -> None:
        """Let nothing that is still kept here be written again, by whoever ends the program."""
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), self.fileno())


@contextmanager
def safe_streams() -> Iterator[None]:
    """Let everything that is printed in the block cross the border; to a closed stream goes nothing.

    From a closed input comes nothing.
    """
    before, given = (sys.stdout, sys.stderr), sys.stdin
    with Path(os.devnull).open() as nothing, Path(os.devnull).open("w") as nowhere:
        sys.stdin = given or nothing
        originals = [stream or nowhere for stream in before]  # there is none that was closed before the start
        wrapped = [SafeWriter(stream) if hasattr(stream, "buffer") else stream for stream in originals]
        writers = [stream for stream in wrapped if isinstance(stream, SafeWriter)]
        for stream in originals:
            stream.flush()
        sys.stdout, sys.stderr = wrapped
        try:
            yield
        finally:
            (sys.stdout, sys.stderr), sys.stdin = before, given
            for writer in writers:
                writer.flush()
                writer.detach()


def drawing_stream(stream: TextIO) -> TextIO:
    """Return what to draw on: the terminal itself, where texts must be made printable one by one."""
    return stream.original if isinstance(stream, SafeWriter) else stream


MAX_WIDTH: Final = 10_000  # columns of a terminal, beyond any


def print_document(value: Any) -> None:
    """Print one JSON document, indented on a terminal."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, default=str))


def print_lines(lines: Iterable[str]) -> None:
    """Print each on a line of its own."""
    for line in lines:
        click.echo(line)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns under heads: styled on a terminal, else padded text that `grep` and `awk` can take."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        print_styled(heads, cells)
    else:
        _print_padded([list(heads), *cells])


def print_styled(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print columns for a terminal; words of a column without blanks are never cut."""
    from rich.console import Console, ConsoleDimensions  # slow to import, and of use on a terminal only
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for head, column in zip(heads, zip(*cells, strict=True) if cells else [()] * len(heads), strict=True):
        # An id that is cut, or goes on in the next line, cannot be copied.
        longest = max((len(word) for cell in column for word in cell.split()), default=0)
        table.add_column(head, no_wrap=not any(" " in cell for cell in column), min_width=longest)
    for row in cells:
        table.add_row(*(Text(make_printable(cell)) for cell in row))
    console = Console(file=drawing_stream(sys.stdout))
    least = Measurement.get(console, console.options.update(width=MAX_WIDTH), table).minimum
    console.size = ConsoleDimensions(max(console.width, least), console.height)  # a dumb terminal's, too
    console.print(table)


def _print_padded(cells: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
