"""What time can cure is tried again and again, and a person is told soon what is waited for."""

import time
from collections.abc import Callable
from threading import Timer
from types import TracebackType
from typing import Final, Self, TypeVar

import click

from producers.portals.sdk.protocol import backoff_pauses
from worker.errors import Unavailable

LONGEST: Final = 3600.0  # seconds that are waited for a full inbox or an absent store
QUIET: Final = 1.5  # seconds without a word

Result = TypeVar("Result")


class RetryNotice:
    """Asks `where` until it answers; raises Unavailable when it has not for an hour."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __call__(self, act: Callable[[], Result]) -> Result:
        """What it answers."""
        rests, until = backoff_pauses(), time.monotonic() + LONGEST
        with _Notice(self._where) as notice:
            while True:
                try:
                    return act()
                except Unavailable as error:
                    rest = max(next(rests), error.retry_after)
                    if time.monotonic() + rest > until:
                        raise
                    notice.because(str(error))
                time.sleep(rest)


class _Notice:
    """Says once that it takes long, and once why."""

    def __init__(self, where: str) -> None:
        self._words, self._known, self._said = f"{where} has not answered yet", False, False
        self._timer = Timer(QUIET, self._emit)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def because(self, why: str) -> None:
        """This is why; the first reason is enough."""
        if not self._known:
            self._words, self._known = why.rstrip("."), True
            if self._said:
                self._emit()

    def _emit(self) -> None:
        self._said = True
        click.echo(f"Waiting: {self._words}. Ctrl-C stops; the same command goes on.", err=True)
