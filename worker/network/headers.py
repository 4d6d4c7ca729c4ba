"""What our requests say of us, and the times in the headers of an answer.

A time that cannot be read is None, never an error.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from typing import Final

LONGEST_WAIT: Final = 86_400.0  # seconds that a `Retry-After` is kept to
SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?")  # some write a fraction, which the standard does not have


@cache
def user_agent() -> str:
    """Return how our requests introduce themselves: the program, and its version."""
    return f"onoffice-relations/{version('onoffice-relations')}"


def http_date(text: str | None) -> float | None:
    """Return the Unix time of an HTTP date."""
    try:
        date = parsedate_to_datetime(text or "")
        # "-0000" parses as a naive time, which would be read in this machine's zone.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds that an answer asks to wait, from either form of `Retry-After`; at most a day.

    A date is compared with that of the answer, so that no clock but its server's counts; with `now` where it
    has none.
    """
    value = headers.get("Retry-After", "").strip()
    if SECONDS.fullmatch(value):
        return min(float(value), LONGEST_WAIT)
    until = http_date(value)
    if until is None:
        return None
    date = http_date(headers.get("Date"))
    return min(max(0.0, until - (now if date is None else date)), LONGEST_WAIT)
