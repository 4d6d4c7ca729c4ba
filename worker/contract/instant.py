"""Instants as whole microseconds since the epoch (UTC), and as RFC 3339 texts; no clock is read here."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EXAMPLE = "2026-11-21T02:00:00Z"
DAY_AND_TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
PATTERN = f"{DAY_AND_TIME}([Zz]| UTC| ?[+-][0-9]{{2}}:?[0-9]{{2}})"
"""RFC 3339, in which seconds may be missing, as Java leaves out zero, and an offset's colon, as in PHP's.

Ruby puts a blank before the offset, and writes `UTC`.
"""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000  # µs
MICROSECOND = timedelta(microseconds=1)
MAX_MICROS = 2**53  # in the year 2255: below it, JavaScript and Lua keep every microsecond too
RFC3339 = re.compile(PATTERN)
BEFORE_OFFSET = re.compile(" (?=[U+-])")
SECONDS = r"(?::(?P<second>[0-9]{1,2})(?P<fraction>[.][0-9]{1,9})?)?"
CLOCK = rf"(?P<hour>[0-9]{{1,2}}):(?P<minute>[0-9]{{1,2}}){SECONDS}(?: ?Uhr)?"
GERMAN = r"(?P<day>[0-9]{1,2})[.] ?(?P<month>[0-9]{1,2})[.] ?(?P<year>[0-9]{4}|[0-9]{2})"
ISO = r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})"
MONTHS = (
    "januar jänner january",
    "februar february",
    "märz maerz mrz march",
    "april",
    "mai may",
    "juni june",
    "juli july",
    "august",
    "september",
    "oktober october",
    "november",
    "dezember december",
)
"""Their names, which may be cut after three letters or more."""
MONTH = r"(?P<month>[^\W\d_]{3,9})[.]?"
IN_WORDS = rf"(?P<day>[0-9]{{1,2}})[.]? {MONTH} (?P<year>[0-9]{{4}}|[0-9]{{2}})"
ENGLISH = rf"{MONTH} (?P<day>[0-9]{{1,2}}),? (?P<year>[0-9]{{4}})"
WEEKDAY = (
    "(?:(?:mon|diens|donners|frei|sams|sonn)tag|mittwoch|mo|di|mi|do|fr|sa|so"
    "|(?:mon|tues|wednes|thurs|fri|satur|sun)day|mon|tue|wed|thu|fri|sat|sun)"
)
LOCAL = [
    re.compile(rf"(?:{WEEKDAY}[.]?(?:, ?| ))?{day}(?:(?: ?[T,] ?| )(?:um |at )?{CLOCK})?", re.IGNORECASE)
    for day in (GERMAN, ISO, IN_WORDS, ENGLISH)
]
"""How people write a day, or a time without an offset."""


def to_us(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return round(seconds * SECOND)


@lru_cache(maxsize=64)  # the changes of one call or one import often share their instant
def read_instant(text: str) -> int:
    """Return the microseconds since the epoch of an RFC 3339 text.

    A blank may stand for the T, as the RFC allows, and what `PATTERN` says may be missing. The offset is
    mandatory; digits beyond microseconds are cut off. Raises `ValueError` with what was expected.
    """
    if not RFC3339.fullmatch(text):
        raise ValueError(f"expected date, time and offset (RFC 3339) such as {EXAMPLE}")
    try:
        instant = datetime.fromisoformat(BEFORE_OFFSET.sub("", text.upper()).replace("UTC", "Z"))
        if text[11:13] == "24":  # which Python reads since 3.14, and the RFC does not know
            raise ValueError
    except ValueError:  # the 30th of February, or 25 o'clock
        raise ValueError("expected a date and time that exist") from None
    micros = (instant - EPOCH) // MICROSECOND
    if not 0 <= micros < MAX_MICROS:
        raise ValueError("expected a time between the years 1970 and 2255")
    return micros


@lru_cache(maxsize=64)
def write_instant(micros: int) -> str:
    """Return the RFC 3339 text, in UTC, that `read_instant` reads back as the same number."""
    return (EPOCH + micros * MICROSECOND).isoformat().replace("+00:00", "Z")


def read_local(text: str) -> datetime | None:
    """Return a time without an offset, or the beginning of a day, as people write it; None of others."""
    with suppress(ValueError):
        return parse_local(text)
    return None


def parse_local(text: str) -> datetime | None:
    """Do as `read_local`; raise ValueError for a time that does not exist, such as the 30th of February."""
    words = " ".join(text.split())
    if (match := next(filter(None, (pattern.fullmatch(words) for pattern in LOCAL)), None)) is None:
        return None
    year, month, day = int(match["year"]), _read_month(match["month"].lower()), int(match["day"])
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    micros = min(round(float(match["fraction"] or 0) * SECOND), SECOND - 1)
    return datetime(year if len(match["year"]) > 2 else 2000 + year, month, day, hour, minute, second, micros)


def _read_month(text: str) -> int:
    """Return the number of a month; 0, which none has, for another word."""
    if text.isdecimal():
        return int(text)
    found = (number for number, names in enumerate(MONTHS, 1) if f" {text}" in f" {names}")
    return next(found, 0)


def read_optional_instant(text: str | None) -> int:
    """Return the microseconds of a text, 0 for none; raises as `read_instant`."""
    return read_instant(text) if text else 0


def write_optional_instant(micros: int) -> str | None:
    """Return the text of a time, None for 0: it is not there yet."""
    return write_instant(micros) if micros else None
