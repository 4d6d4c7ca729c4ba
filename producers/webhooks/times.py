"""Times as senders write them, as RFC 3339: with a zone of their own, or in one that a rule names. Pure."""

import re
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from worker.contract import write_instant
from worker.contract.instant import MAX_MICROS, SECOND, parse_local, read_instant
from worker.contract.quoting import quote

DIGITS: Final = re.compile(r"[0-9]{1,20}([.][0-9]{1,9})?")
# A date and a time that lack only what RFC 3339 wants: the T, or the colon or the minutes of the offset.
ALMOST_RFC3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9:.]{8,20}) ?([Zz]|UTC|GMT|([+-][0-9]{2}):?([0-9]{2})?)"
)
LARGEST_OF_UNITS: Final = ((10**11, SECOND), (10**14, SECOND // 10**3), (10**17, 1))  # µs in one of a unit
DEFAULT_ZONE: Final = "Europe/Berlin"
# A time of day with its offset, as mails have it, which is no `10:30-12:00`: that is when something ends. Of
# other names of zones nobody knows which is meant.
OFFSETS: Final = {
    "+00": "UT UTC GMT Z",
    "+01": "CET MEZ",
    "+02": "CEST MESZ",
    "-04": "EDT",
    "-05": "EST CDT",
    "-06": "CST MDT",
    "-07": "MST PDT",
    "-08": "PST",
}
ZONES: Final = {name: offset for offset, names in OFFSETS.items() for name in names.split()}
ZONED: Final = re.compile(
    r"(?!.*[^T:0-9][0-9]{1,2}:[0-9]{2}(?: ?Uhr)?(?:-| -[0-9]{2}:))"
    r"(.*[0-9]:[0-9]{2}(?:[.][0-9]{1,9})?(?: ?Uhr)?) ?"
    r"(?:(?:GMT|UTC)?([+](?:0[0-9]|1[0-4])|-(?:0[0-9]|1[0-2])):?([0-5][0-9])?"
    rf"|({'|'.join(ZONES)}))(?: ?[(].*[)])?",
    re.IGNORECASE,
)
MAX_ZONED: Final = 200  # characters

# `Mon Nov 30 2026 10:00:00 GMT+0100 (CET)`, as Google's scripts have it; turned round it is that of a mail.
OF_JAVASCRIPT: Final = re.compile(
    r"\A[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([0-9]{1,2}) ([0-9]{4} [0-9:]{8} )GMT([+-][0-9]{4})(?: [(][^)]*[)])?\Z"
)

# ISO 8601 without marks, `20261129T133015Z`: of the digits alone, a number since 1970 is none of this time.
COMPACT: Final = re.compile(
    r"((?:19|20)[0-9]{2})([01][0-9])([0-3][0-9])"
    r"(?:[Tt]?([0-2][0-9])([0-5][0-9])([0-5][0-9])?([Zz]|[+-][0-9]{4})?)?"
)
# The place that Java adds to an offset.
OF_JAVA: Final = re.compile(r"(Z|[+-][0-9]{2}:?[0-9]{2})\[[A-Za-z_/+-]{1,40}\]\Z")


def read_time(value: object) -> object:
    """Return a time as RFC 3339: one in seconds, milliseconds or microseconds since 1970, or with `+0000`.

    Anything else comes back as it is, for the contract to judge, also a date that is written as a number.
    """
    if _match_compact(value):
        return value
    if isinstance(value, str) and DIGITS.fullmatch(value):
        value = float(value) if "." in value else int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_number(value)
    if isinstance(value, str) and (match := ALMOST_RFC3339.fullmatch(value)):
        offset = f"{match[4]}:{match[5] or '00'}" if match[4] else "Z"
        return f"{match[1]}T{match[2]}{offset}"
    return value


def _from_number(number: float) -> object:
    unit = next((micros for largest, micros in LARGEST_OF_UNITS if 0 <= number < largest), None)
    if unit is None:  # also what is no number, or a whole one that is too large to calculate with
        return number
    micros = round(number * unit)
    return write_instant(micros) if micros < MAX_MICROS else number


def write_time(value: object, zone: str = DEFAULT_ZONE) -> str | None:
    """Return a time as RFC 3339, None for nothing; raise ValueError if it is none.

    It may be in seconds, milliseconds or microseconds since 1970, `dd.mm.yyyy` with or without a time of day,
    with a German or English name of the month, by ISO 8601 or as mails have it. `zone` counts where the
    sender names none. A date alone is its beginning.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    found = read_time(_spell_out(value))
    if isinstance(found, str):
        with suppress(ValueError):
            return write_instant(read_instant(found))
        try:
            local = parse_local(found) or _read_zoned(found)
        except ValueError:
            raise ValueError(f"expected a date and time that exist, got {quote(found)}") from None
        if local:
            return _write(local, zone)
    raise ValueError(
        f"expected a time such as 1764412200, 29.11.2026 or 2026-11-29T10:30, got {quote(value)}"
    )


def _match_compact(value: object) -> re.Match[str] | None:
    text = str(value) if isinstance(value, int) and 0 <= value < 10**14 else value
    return COMPACT.fullmatch(text) if isinstance(text, str) else None


def _spell_out(value: object) -> object:
    """Return a time with marks between its parts and its offset in digits; what is no text as it is."""
    if compact := _match_compact(value):
        year, month, day, hour, minute, second, offset = compact.groups("")
        clock = f"T{hour}:{minute}:{second or '00'}{offset}" if hour else ""
        return f"{year}-{month}-{day}{clock}"
    if not isinstance(value, str):
        return value
    return OF_JAVA.sub(r"\1", OF_JAVASCRIPT.sub(r"\2 \1 \3\4", " ".join(value.split())))


def _read_zoned(text: str) -> datetime | None:
    """Return a time with its offset as mails have it; None of others, ValueError as `parse_local`."""
    found = ZONED.fullmatch(text) if len(text) <= MAX_ZONED else None
    if not found or (local := parse_local(found[1])) is None:
        return None
    hours = found[2] or ZONES[found[4].upper()]
    return datetime.fromisoformat(f"{local.isoformat()}{hours}:{found[3] or '00'}")


def _write(moment: datetime, zone: str) -> str:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=_find_zone(zone))
    try:
        return write_instant(round(moment.timestamp() * SECOND))
    except OverflowError:  # 0001-01-01, by which .NET says that there is none, begins before there are years
        raise ValueError("expected a time between the years 1970 and 2255") from None


@lru_cache(maxsize=64)
def _find_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a name that is not known, no name, or one of a folder
        raise ValueError(f"there is no time zone {quote(name)}; expected one such as Europe/Berlin") from None
