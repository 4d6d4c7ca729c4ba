"""Calls that are repeated until the store or the server answers, with a notice of what is waited for."""

import time
from collections.abc import Callable
from threading import Timer
from typing import Final, Self, TypeVar

import click

from producers.portals.sdk.protocol import backoff_pauses
from worker.errors import Unavailable

MAX_WAIT: Final = 3600.0  # seconds that are waited for a full inbox or an absent store
NOTICE_DELAY: Final = 1.5  # seconds of silence before a notice is printed

Result = TypeVar("Result")


class Retry:
    """Repeats a call to `where` until it answers; raises Unavailable when it has not for an hour."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Return what the call returns in the end."""
        with _WaitingNotice(self._where) as notice:
            return _repeat(call, notice)


def _repeat(call: Callable[[], Result], notice: "_WaitingNotice") -> Result:
    waits, deadline = backoff_pauses(), time.monotonic() + MAX_WAIT
    while True:
        try:
            return call()
        except Unavailable as error:
            wait = max(next(waits), error.retry_after)
            if time.monotonic() + wait > deadline:
                raise
            notice.give_reason(str(error))
        time.sleep(wait)


class _WaitingNotice:
    """Prints once that an answer takes long, and once why."""

    def __init__(self, where: str) -> None:
        self._reason, self._is_known, self._is_printed = f"{where} has not answered yet", False, False
        self._timer = Timer(NOTICE_DELAY, self._print)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def give_reason(self, reason: str) -> None:
        """Keep the first reason; print it now if a notice was printed without it."""
        if not self._is_known:
            self._reason, self._is_known = reason.rstrip("."), True
            if self._is_printed:
                self._print()

    def _print(self) -> None:
        self._is_printed = True
        click.echo(f"Waiting: {self._reason}. Ctrl-C stops; the same command goes on.", err=True)
