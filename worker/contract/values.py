"""Values as JSON has them: numbers as they are written in a text, and what Python producers have instead."""

import codecs
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import date
from numbers import Number
from typing import Any, TypeGuard
from uuid import UUID

import msgspec

from worker.contract.quoting import quote
from worker.errors import Fault, InvalidChange

MAX_DIGITS = 40  # of an integer that is read exactly; the greatest id has 16
WHOLE = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}([.]0+)?")
SEPARATOR = re.compile(r"[ \t\r\n]*")  # what stands between values
FRACTION = re.compile(rb"[0-9][.eE]")  # of a number, perhaps: what is no integer, or not written as one
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
BYTES = (bytes, bytearray, memoryview)  # which hold numbers, but are no list of them
LEVELS = 4  # of objects and arrays; a list of changes has three
# Half of a character beyond the first 65,536, written as an escape that is none itself.
LONE_HALF = re.compile(
    rb"(?<!\\)(?:\\\\)*(\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2}))"
)
GZIP = b"\x1f\x8b"
FORM = re.compile(rb"\s*[A-Za-z_][A-Za-z0-9_.%\[\]-]{0,99}=")
BYTE = re.compile(r"\(byte ([0-9]{1,9})\)$")  # where msgspec gave up
NO_NUMBER = "; JSON has no such number, leave the field out"
PYTHON = "; this is how Python prints it, json.dumps writes JSON"
STRANGE = {
    **dict.fromkeys((b"NaN", b"Infinity", b"-Infinity", b"-NaN"), NO_NUMBER),
    **dict.fromkeys((b"None", b"True", b"False"), PYTHON),
    b"'": "; JSON has double quotation marks",
}
BOUND = 2**64  # beyond it no number is made an integer: its digits may be millions


class WrittenNumber(float):
    """A number that is no whole one, or is not written as one; shown as it is written, such as `1.2e3`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text if len(self.text) <= MAX_DIGITS else "a huge number"


def read_json(raw: bytes) -> object:
    """Return the value of a JSON text; `501.0` is 501, a number with an exponent is a WrittenNumber.

    Raises InvalidChange for names that stand twice in an object, of which a decoder would drop one, and
    msgspec.MsgspecError, UnicodeError or RecursionError.
    """
    with suppress(msgspec.ValidationError):  # an integer of too many digits; what is no JSON at all is raised
        value = msgspec.json.decode(raw)
        if is_kept_whole(raw, value) and not FRACTION.search(raw):  # nearly always
            return value
    msgspec.json.decode(raw, type=msgspec.Raw)
    return json.loads(
        raw.decode(), parse_int=_read_written, parse_float=_read_written, object_pairs_hook=_read_object
    )


def explain_broken_json(raw: bytes, error: Exception) -> str:
    """Return what was expected where a decoder found no JSON."""
    if half := LONE_HALF.search(raw):
        return f"expected JSON: {half[1].decode()} is half of a character; was a text cut inside of one?"
    hint = _hint_at_format(raw, str(error))
    if not hint and (found := _find_foreign_byte(raw)):
        return f"expected JSON in UTF-8, got {found}"
    return f"expected JSON: {error}{hint}"


def _find_foreign_byte(raw: bytes) -> str:
    """Return what the first byte is that no UTF-8 has there, "" if all of it is UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        byte = raw[error.start : error.start + 1]
        letter = byte.decode("cp1252", "replace")
        meant = f', which is "{letter}" in Windows-1252' if letter.isalpha() else ""
        return f"the byte 0x{byte[0]:02X}{meant}; encode the body as UTF-8"
    return ""


def _hint_at_format(raw: bytes, error: str) -> str:
    """Return what a text is that is no JSON, by how it begins and by where a decoder gave up; mostly ""."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:2]:
        return "; this is UTF-16, send UTF-8"
    if raw.startswith(GZIP):
        return "; this is gzip, name it in Content-Encoding and compress once only"
    if FORM.match(raw):
        return "; this is a form, send a JSON object"
    if "trailing characters" in error:
        return "; several changes are sent as one array, or one per line"
    place = BYTE.search(error)
    at = raw[int(place[1]) :][:9] if place else b""
    return next((hint for mark, hint in STRANGE.items() if at.startswith(mark)), "")


def is_kept_whole(raw: bytes, decoded: object) -> bool:
    """Return whether a decoder has surely kept all of a JSON text: as many quotation marks are left.

    Those of a value go with it if its name stands again. The decoder of messages drops nulls, too, and
    escapes may stand for quotation marks: then nothing is sure.
    """
    return b"\\" not in raw and raw.count(b'"') == msgspec.json.encode(decoded).count(b'"')


def has_repeated_names(raw: bytes) -> bool:
    """Return whether a name stands twice in an object of this text, which may hold several values."""
    text = raw.decode()
    try:
        position = _skip(text, 0)
        while position < len(text):
            _, position = SCANNER.raw_decode(text, position)
            position = _skip(text, position)
    except InvalidChange:
        return True
    return False


def _skip(text: str, position: int) -> int:
    separator = SEPARATOR.match(text, position)
    return separator.end() if separator else position


def _read_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object as a dictionary, if each of its names stands once."""
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise InvalidChange(
            [
                Fault(path_of(name), f"stands {number} times in its object; which value counts?")
                for name, number in counts.items()
                if number > 1
            ]
        )
    return values


def path_of(key: object, parent: str = "") -> str:
    """Return the path of a key that a sender may have made up."""
    if not (isinstance(key, str) and PLAIN_NAME.fullmatch(key)):
        return f"{parent}[{quote(key)}]"
    return f"{parent}.{key}" if parent else key


def _read_written(text: str) -> int | WrittenNumber:
    number = read_whole(text)
    return WrittenNumber(text) if number is None else number


def to_plain(value: object, levels: int = LEVELS) -> object:
    """Return a Python value as JSON has it.

    A number with an integral value, of whatever type, is an int; a date and time is in RFC 3339, without
    offset if it has none; a UUID is its text. So is a text of a type of its own, as lxml has it, and whatever
    holds items is a list, as a column of pandas. What is nested deeper than any message is left as it is.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping) and levels:
        return {name: to_plain(item, levels - 1) for name, item in value.items()}
    if isinstance(value, Collection) and not isinstance(value, BYTES) and levels:
        with suppress(TypeError):  # an array of numpy that has no dimension is no list
            return [to_plain(item, levels - 1) for item in value]
    if isinstance(value, date):  # or a datetime
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return read_number(value) if isinstance(value, Number) else value


def to_plain_message(message: object) -> object:
    """Return a message with its values as JSON has them, and with what PHP makes of some put right.

    PHP writes an empty object as `[]`, and a list with gaps as an object: `{"0": 9001, "2": 9002}`.
    """
    plain = to_plain(message)
    if isinstance(plain, dict):
        for side in ("parentid", "childid"):
            if is_list_with_gaps(ids := plain.get(side)):
                plain[side] = list(ids.values())
        if plain.get("relationinfo") == []:
            plain["relationinfo"] = {}
    return plain


def is_list_with_gaps(value: object) -> TypeGuard[dict[str, object]]:
    """Return whether an object has only numbers for names, as PHP writes a list with gaps."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and name.isascii() and name.isdecimal() for name in value)
    )


def read_number(value: Any) -> object:
    """Return a number of Python, numpy or `decimal` as an int if it is integral, else as a float."""
    if isinstance(value, int | WrittenNumber):  # True and False too, which are no numbers
        return value
    try:
        return int(value) if -BOUND < value < BOUND and value == int(value) else float(value)
    except (TypeError, ValueError, ArithmeticError):  # complex, or a Decimal that is none
        return value


def strip_pasted(text: str) -> str:
    """Return an id that was pasted, without the blanks, quotation marks and commas around it."""
    return text.strip(" \t\r\n\u00a0,;\"'`")


def read_whole(text: str) -> int | None:
    """Return the number that a text writes as digits, with nothing but zeros behind a point; else None."""
    return int(text.partition(".")[0]) if WHOLE.fullmatch(text) else None


SCANNER = json.JSONDecoder(parse_int=str, parse_float=str, object_pairs_hook=_read_object)
