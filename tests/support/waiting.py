"""Waiting for what other processes and threads do: a look every few milliseconds, and a deadline."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

SECONDS: Final = 60.0
HANGS_AFTER: Final = 300.0  # seconds: what a test starts ends before, on a machine however busy
POLL: Final = 0.02

Value = TypeVar("Value")


def wait_until(
    condition: Callable[[], Value], complaint: str | Callable[[], object], *, seconds: float = SECONDS
) -> Value:
    """Return what the condition returns, once that is true; fail with the complaint if it takes longer."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{complaint if isinstance(complaint, str) else complaint()} after {seconds:g} s"
            )
        time.sleep(POLL)
    return value
