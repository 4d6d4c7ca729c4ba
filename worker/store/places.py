"""Places in the indexes of jobs by acceptance: how a cursor names them, and how one is found. Pure."""

from collections.abc import Callable, Sequence
from typing import Final

from worker.errors import Fault, Invalid

PLACE_BITS: Final = 32
"""A cursor above this many bits names a bucket and a place in it; any other an acceptance number."""
PLACE_MASK: Final = (1 << PLACE_BITS) - 1
PROBES: Final = 15  # places that are looked at in one round trip
PIECE: Final = 200
"""Entries that are looked at in one round trip, unless a page is longer."""


def find_end(size: int, end: int, values_at: Callable[[Sequence[int]], Sequence[int]]) -> int:
    """Return a place in an index of this size from which on every value is at least `end`.

    Values rise with their places. At most PIECE places before it have such values too. `values_at` returns
    those of some places, 0 for what is gone; where too much is, the place that is known by then is returned.
    """
    low, high = 0, size
    while high - low > PIECE:
        places = [low + (high - low) * (each + 1) // (PROBES + 1) for each in range(PROBES)]
        values = [pair for pair in zip(places, values_at(places), strict=True) if pair[1]]
        later = min((place for place, value in values if value >= end), default=high)
        earlier = max((place + 1 for place, value in values if value < end and place < later), default=low)
        if (earlier, later) == (low, high):
            break
        low, high = earlier, later
    return high


def refuse_foreign(cursor: str, oldest: Sequence[str]) -> None:
    """Raise Invalid for an entry that is not in a list though it is younger than the `oldest` there.

    A list drops its oldest first, and ids sort by time. An older one was dropped, and nothing follows it.
    """
    if oldest and cursor > oldest[0]:
        raise Invalid([Fault("cursor", "is of another list; expected the `next` of a page of this one")])
