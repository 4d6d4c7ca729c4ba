"""Time and identity of this process, as the use cases are handed them."""

import time
from collections.abc import Callable

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
PAIRS = [high + low for high in ALPHABET for low in ALPHABET]


class SystemClock:
    """The monotonic clock of the system."""

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class IdGenerator:
    """Fresh names of 18 characters that sort by time: nine of milliseconds, nine of chance (45 bits each).

    Given the milliseconds and the source of bytes, so that a test may hold both.
    """

    def __init__(self, milliseconds: Callable[[], int], random_bytes: Callable[[int], bytes]) -> None:
        self._milliseconds, self._bytes = milliseconds, random_bytes
        self._moment, self._prefix = -1, ""

    def __call__(self) -> str:
        """The next one."""
        moment, chance = self._milliseconds(), int.from_bytes(self._bytes(6))
        if moment != self._moment:
            self._moment, self._prefix = moment, prefix_of(1000 * moment)
        pairs = (
            PAIRS[chance & 1023]
            + PAIRS[chance >> 10 & 1023]
            + PAIRS[chance >> 20 & 1023]
            + PAIRS[chance >> 30 & 1023]
        )
        return self._prefix + pairs + ALPHABET[chance >> 40 & 31]


def time_of_id(name: str) -> int:
    """When a name was given (µs since the epoch), by its beginning."""
    milliseconds = 0
    for letter in name[:9]:
        milliseconds = milliseconds << 5 | ALPHABET.index(letter)
    return 1000 * milliseconds


def prefix_of(micros: int) -> str:
    """What the names given at that time (µs since the epoch) begin with."""
    return "".join([ALPHABET[(micros // 1000 >> shift) & 31] for shift in range(40, -5, -5)])
