"""How far a long command is: a bar on a terminal, else a line every few seconds; always on stderr, and nothing when asked for JSON."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

EVERY: Final = 5.0  # seconds between lines

Tell = Callable[[int], None]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """How many a second."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def progress(what: str, total: int, *, quiet: bool) -> Iterator[Tell]:
    """Something to tell how many of `total` are done."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=console) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield Lines(what, total, now=time.monotonic)


class Lines:
    """A line now and then, with the rate and the time left."""

    def __init__(self, what: str, total: int, *, now: Callable[[], float]) -> None:
        self._what, self._total, self._now = what, total, now
        self._began = self._told = now()

    def __call__(self, done: int) -> None:
        """So many are done."""
        now = self._now()
        if now - self._told < EVERY:
            return
        self._told = now
        rate = done / (now - self._began)
        left = f", {(self._total - done) / rate:,.0f} s left" if rate else ""
        click.echo(f"{self._what}: {done:,} of {self._total:,}, {rate:,.0f}/s{left}", err=True)
