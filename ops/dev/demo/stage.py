"""What the demo says while it runs: headings, plain lines, and one line of progress that a terminal keeps rewriting."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.status import Status

EVERY: Final = 2.0  # seconds between plain lines of progress
WIDE: Final = 120  # characters, where there is no terminal to ask


class Stage:
    """A place to speak; a silent one says nothing, so that a JSON document stays alone."""

    def __init__(self, *, silent: bool = False) -> None:
        plain = Console(highlight=False, quiet=silent, soft_wrap=True)
        self._console = (
            plain if plain.is_terminal else Console(highlight=False, quiet=silent, soft_wrap=True, width=WIDE)
        )
        self.started = time.monotonic()

    def title(self, text: str) -> None:
        """Begin a new part."""
        self._console.print(f"\n[bold]{text}[/bold]")

    def echo(self, text: str) -> None:
        """One line."""
        self._console.print(f"  {text}")

    def show(self, picture: object) -> None:
        """A table, or whatever rich can draw."""
        self._console.print(picture)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """Gives what to call with the present state, as often as one likes."""
        if self._console.is_terminal and not self._console.quiet:
            with Status("", console=self._console) as status:
                yield status.update
        else:
            yield _Seldom(self.echo)


class _Seldom:
    """Passes a line on when the last one is long enough ago."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo, self._next = echo, time.monotonic() + EVERY

    def __call__(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            self._echo(text)
