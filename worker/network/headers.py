"""What our requests say of us, and the times in the headers of an answer.

A time that cannot be read is None, never an error.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version


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


def retry_after(text: str | None, *, now: float) -> float | None:
    """Return the seconds to wait, from either form of `Retry-After`; a date is compared with `now`."""
    value = (text or "").strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return float(value)
    until = http_date(value)
    return None if until is None else max(0.0, until - now)
