"""The demo's console output: headings, lines, and a progress line that a terminal keeps rewriting."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.status import Status

INTERVAL: Final = 2.0  # seconds between plain lines of progress
WIDTH: Final = 120  # columns where there is no terminal to ask


class DemoConsole:
    """Prints what the demo does; a silent one prints nothing, so that a JSON document stays alone."""

    def __init__(self, *, silent: bool = False) -> None:
        # The command line escapes what a terminal would obey; a spinner has to be obeyed.
        file = getattr(sys.stdout, "original", None)
        plain = Console(file=file, highlight=False, quiet=silent, soft_wrap=True)
        self._console = (
            plain
            if plain.is_terminal
            else Console(file=file, highlight=False, quiet=silent, soft_wrap=True, width=WIDTH)
        )
        self.started = time.monotonic()

    def title(self, text: str) -> None:
        """Print the heading of a new part."""
        self._console.print(f"\n[bold]{text}[/bold]")

    def echo(self, text: str) -> None:
        """Print one line."""
        self._console.print(f"  {text}")

    def show(self, renderable: object) -> None:
        """Print a table, or whatever rich can render."""
        self._console.print(renderable)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that shows the present state; it may be called as often as one likes."""
        if self._console.is_terminal and not self._console.quiet:
            with Status("", console=self._console) as status:
                yield status.update
        else:
            yield _ThrottledEcho(self.echo)


class _ThrottledEcho:
    """Prints a line if the last one was printed long enough ago."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo, self._next = echo, time.monotonic() + INTERVAL

    def __call__(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            self._echo(text)
