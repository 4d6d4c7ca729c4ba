"""Printing: JSON for programs, tables for people; colours and frames only on a terminal."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

import click

__all__ = ["UTC", "document", "lines", "table"]


def document(value: Any) -> None:
    """One JSON document, indented on a terminal."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, default=str))


def lines(texts: Iterable[str]) -> None:
    """One per line."""
    for text in texts:
        click.echo(text)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns under heads: framed on a terminal, else padded text that `grep` and `awk` can take."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _framed(heads, cells)
    else:
        _padded([list(heads), *cells])


def _framed(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # slow to import, and of use on a terminal only
    from rich.table import Table
    from rich.text import Text

    made = Table(*heads, box=None, header_style="bold", pad_edge=False)
    for row in cells:
        made.add_row(*map(Text, row))
    Console().print(made)


def _padded(cells: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
