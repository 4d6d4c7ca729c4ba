"""Time and identity of this process, as the use cases are handed them."""

import time
from collections.abc import Callable

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


class SystemClock:
    """The monotonic clock of the system."""

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Names:
    """Fresh names of 18 characters that sort by time: 45 bits of milliseconds, 45 of chance.

    Given the milliseconds and the source of bytes, so that a test may hold both.
    """

    def __init__(self, milliseconds: Callable[[], int], random_bytes: Callable[[int], bytes]) -> None:
        self._milliseconds, self._bytes = milliseconds, random_bytes

    def __call__(self) -> str:
        """The next one."""
        number = (self._milliseconds() << 45) | (int.from_bytes(self._bytes(6)) >> 3)
        return "".join([ALPHABET[(number >> shift) & 31] for shift in range(85, -5, -5)])
