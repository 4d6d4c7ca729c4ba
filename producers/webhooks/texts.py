"""Texts and times of senders in the one form that rules compare and the contract takes. Pure."""

import math
import re
import unicodedata
from typing import Final

from worker.contract import write_instant
from worker.contract.instant import MAX_MICROS, SECOND

DIGITS: Final = re.compile(r"[0-9]{1,20}([.][0-9]{1,9})?")
# A date and a time that lack only what RFC 3339 wants: the T, or the colon or the minutes of the offset.
ALMOST_RFC3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9:.]{8,20}) ?([Zz]|[+-][0-9]{2})?:?([0-9]{2})?"
)
LARGEST_OF_UNITS: Final = ((10**11, SECOND), (10**14, SECOND // 10**3), (10**17, 1))  # µs in one of a unit


def compose(value: object) -> object:
    """Return a value with all its texts composed (NFC): an ä of two characters is one."""
    if isinstance(value, str):
        return value if value.isascii() else unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [compose(item) for item in value]
    if isinstance(value, dict):
        return {compose(name): compose(item) for name, item in value.items()}
    return value


def read_time(value: object) -> object:
    """Return a time as RFC 3339: one in seconds, milliseconds or microseconds since 1970, or with `+0000`.

    Anything else comes back as it is, for the contract to judge.
    """
    if isinstance(value, str) and DIGITS.fullmatch(value):
        value = float(value) if "." in value else int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return _from_number(value)
    if isinstance(value, str) and (match := ALMOST_RFC3339.fullmatch(value)) and match[3]:
        offset = match[3].upper() if match[3] in "Zz" else f"{match[3]}:{match[4] or '00'}"
        return f"{match[1]}T{match[2]}{offset}"
    return value


def _from_number(number: float) -> object:
    unit = next((micros for largest, micros in LARGEST_OF_UNITS if 0 <= number < largest), 0)
    micros = round(number * unit)
    return write_instant(micros) if unit and micros < MAX_MICROS else number
