"""Printing: JSON for programs, tables for people; colours and frames only on a terminal."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from ops.cli.terminal import drawing_stream
from worker.contract.quoting import make_printable

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
