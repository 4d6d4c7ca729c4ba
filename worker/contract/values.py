"""Values as JSON has them: numbers as they are written in a text, and what Python producers have instead."""

import json
import re
from collections.abc import Mapping
from numbers import Number
from typing import Any

import msgspec

MAX_DIGITS = 40  # of an integer that is read exactly; the greatest id has 16
WHOLE = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}([.]0+)?")
BOUND = 2**64  # beyond it no number is made an integer: its digits may be millions


class WrittenNumber(float):
    """A number that is no whole one, or is not written as one; shown as it is written, such as `1.2e3`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text if len(self.text) <= MAX_DIGITS else "a huge number"


def read_json(raw: bytes) -> object:
    """Return the value of a JSON text; `501.0` is 501, a number with an exponent is a WrittenNumber.

    Raises msgspec.MsgspecError, UnicodeError or RecursionError.
    """
    msgspec.json.decode(raw, type=msgspec.Raw)  # says what is wrong, and where
    return json.loads(raw.decode(), parse_int=_read_written, parse_float=_read_written)


def _read_written(text: str) -> int | WrittenNumber:
    number = read_whole(text)
    return WrittenNumber(text) if number is None else number


def to_plain(value: object) -> object:
    """Return a Python value as JSON has it: a number with an integral value, of whatever type, is an int."""
    if isinstance(value, Mapping):
        return {name: to_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return read_number(value) if isinstance(value, Number) else value


def read_number(value: Any) -> object:
    """Return a number of Python, numpy or `decimal` as an int if it is integral, else as a float."""
    if isinstance(value, int | WrittenNumber):  # True and False too, which are no numbers
        return value
    try:
        return int(value) if -BOUND < value < BOUND and value == int(value) else float(value)
    except (TypeError, ValueError, ArithmeticError):  # complex, or a Decimal that is none
        return value


def read_whole(text: str) -> int | None:
    """Return the number that a text writes as digits, with nothing but zeros behind a point; else None."""
    return int(text.partition(".")[0]) if WHOLE.fullmatch(text) else None
