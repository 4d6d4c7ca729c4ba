"""Ids that sort by time, of jobs, flushes and requests; use cases take what makes them as an argument."""

import os
import time
from collections.abc import Callable

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
PAIRS = [high + low for high in ALPHABET for low in ALPHABET]  # the digits of 10 bits


class IdGenerator:
    """Makes ids of 18 characters that sort by time: nine for milliseconds, nine random ones (45 bits each).

    Time and chance are those of this process, unless a test gives its own.
    """

    def __init__(
        self,
        milliseconds: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._milliseconds, self._random_bytes = milliseconds, random_bytes
        self._last, self._prefix = -1, ""

    def __call__(self) -> str:
        """Return a new id."""
        now, bits = self._milliseconds(), int.from_bytes(self._random_bytes(6))
        if now != self._last:
            self._last, self._prefix = now, id_prefix(1000 * now)
        pairs = (
            PAIRS[bits & 1023]
            + PAIRS[bits >> 10 & 1023]
            + PAIRS[bits >> 20 & 1023]
            + PAIRS[bits >> 30 & 1023]
        )
        return self._prefix + pairs + ALPHABET[bits >> 40 & 31]


def id_prefix(micros: int) -> str:
    """Return the first nine characters of every id made at that time (µs since the epoch)."""
    return "".join([ALPHABET[(micros // 1000 >> shift) & 31] for shift in range(40, -5, -5)])
