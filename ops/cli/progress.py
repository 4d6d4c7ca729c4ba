"""The progress of a long command on stderr: a bar on a terminal, else a line every few seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ops.cli.output import drawing_stream

INTERVAL: Final = 5.0  # seconds between lines

ReportProgress = Callable[[int], None]


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return the speed of the task, per second."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def show_progress(what: str, total: int, *, quiet: bool) -> Iterator[ReportProgress]:
    """Give a function to be called with how many of `total` are done; `quiet` shows nothing."""
    if quiet:
        yield lambda _done: None
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(file=drawing_stream(sys.stderr))) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield ProgressLines(what, total, clock=time.monotonic)


class ProgressLines:
    """Prints a line now and then, with the rate and the time left."""

    def __init__(self, what: str, total: int, *, clock: Callable[[], float]) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._started = self._printed = clock()

    def __call__(self, done: int) -> None:
        """Print how many are done, if the last line is old enough."""
        now = self._clock()
        if now - self._printed < INTERVAL:
            return
        self._printed = now
        rate = done / (now - self._started)
        left = f", {(self._total - done) / rate:,.0f} s left" if rate else ""
        click.echo(f"{self._what}: {done:,} of {self._total:,}, {rate:,.0f}/s{left}", err=True)
