"""What the use cases need from outside: a store, the API, a limiter, and the values that cross these borders.

The adapters are `store/`, `onoffice/` and `limiter/`; `worker.testing` ships an in-memory store that is
tested to equal Redis.
"""

from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock that can also wait, as the module `time`."""

    def monotonic(self) -> float:
        """Return the seconds since some fixed point."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


Wake = Callable[[str, float], None]
"""Sends a wake-up: the account, and in how many seconds it is due."""


class EventSink(Protocol):
    """Where use cases report what happened: a past-tense dotted event with flat fields."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Write the event."""
