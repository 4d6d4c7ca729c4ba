"""Reads JSON as rows: one object per line, or objects over several lines, in an array, joined, with commas.

Whichever it is shows in the first line. An object that cannot be read is rejected alone.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json import JSONDecodeError, JSONDecoder
from typing import Any, Final

import msgspec

from producers.portals.imports.lines import MAX_SHOWN_TEXT, InputRow, LineReader
from worker.contract import MAX_MESSAGE
from worker.contract.quoting import quote
from worker.contract.values import explain_broken_json, read_json
from worker.errors import Fault, InvalidChange

# A string, which the end of a piece may cut, also within an escape; a brace; what is between them.
TOKEN: Final = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*+(?:(?P<end>")|(?P<half>\\?)\Z))|(?P<brace>[{}])|[^"{}]+', re.DOTALL
)
SEPARATORS: Final = " \t\r\n,[]"  # what may stand between the objects
DECODER: Final = JSONDecoder(parse_int=str, parse_float=str)


def read_json_rows(lines: LineReader, defaults: Mapping[str, Any]) -> Iterator[InputRow]:
    """Yield the objects as rows; `defaults` are the values of fields that an object leaves out."""
    if _spans_lines(lines.skip_blank().strip(), lines):
        yield from _read_objects(lines, defaults)
        return
    for _ in lines:
        if text := lines.take_text().strip():
            yield from _parse_line(lines.number, text, defaults)


def _spans_lines(first: str, lines: LineReader) -> bool:
    """Return whether the first line begins an array, or an object that the second continues."""
    if first.startswith("["):
        return True
    if not first.startswith("{") or lines.peek(2)[-1].strip().startswith("{"):
        return False
    try:
        DECODER.raw_decode(first)
    except JSONDecodeError as error:
        return error.pos >= len(first)
    except RecursionError:
        pass
    return False


def _parse_line(number: int, text: str, defaults: Mapping[str, Any]) -> Iterator[InputRow]:
    if len(text) > MAX_MESSAGE:
        yield InputRow.too_long(number, text)
        return
    row = _parse_object(number, text, defaults)
    if row.message is not None:
        yield row
        return
    scan = _ObjectScan()
    rows = [_parse_object(number, found, defaults, part) for _, part, found in scan.feed(number, text)]
    is_clear = all(each.message is not None for each in rows) and not scan.others and not scan.depth
    yield from rows if rows and is_clear else [row]


def _read_objects(lines: LineReader, defaults: Mapping[str, Any]) -> Iterator[InputRow]:
    scan = _ObjectScan()
    for piece in lines.read_pieces():
        for number, part, text in scan.feed(lines.number + 1, piece):
            too_long = len(text) > MAX_MESSAGE
            yield InputRow.too_long(number, text) if too_long else _parse_object(number, text, defaults, part)
        for number, text in scan.take_others():
            yield InputRow(
                number, text, None, [Fault("", f"expected objects, got {quote(text)} between them")]
            )
    if scan.depth:
        fault = Fault("", "the object that begins here has no end")
        yield InputRow(scan.line, scan.text[:MAX_SHOWN_TEXT], None, [fault])


def _parse_object(number: int, text: str, defaults: Mapping[str, Any], part: int = 0) -> InputRow:
    raw = text.encode(errors="surrogateescape")
    try:
        message = read_json(raw)
    except InvalidChange as error:
        return InputRow(number, text, None, error.faults, part=part)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return InputRow(number, text, None, [Fault("", explain_broken_json(raw, error))], part=part)
    if not isinstance(message, dict):
        fault = Fault("", f"expected a change (an object), got {quote(message)}")
        return InputRow(number, text, None, [fault], part=part)
    values = {name: value for name, value in message.items() if value is not None}
    return InputRow(number, text, {**defaults, **values}, part=part)


@dataclass(slots=True)
class _ObjectScan:
    """Finds where objects begin and end by their braces; what is in them is read later.

    `others` is what stands between them and does not belong there, with its line.
    """

    depth: int = 0
    line: int = 0  # on which the last object begins
    part: int = 0  # how many began on that line before it
    others: list[tuple[int, str]] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _size: int = 0
    _cut: str = ""  # how to begin the rest of a string that the end of the last piece cut

    def feed(self, number: int, piece: str) -> Iterator[tuple[int, int, str]]:
        """Yield line, part and text of each object that ends in this piece of a line."""
        begun, self._cut = self._cut, ""
        for token in TOKEN.finditer(begun + piece):
            text = token[0]
            if token["string"] and not token["end"]:
                self._cut = f'"{token["half"]}'
                text = text.removesuffix(token["half"])
            if self._ends_object(number, token["brace"], text[1:] if begun else text, is_rest=bool(begun)):
                yield self.line, self.part, self.text
            begun = ""

    @property
    def text(self) -> str:
        """What was found of the last object."""
        return "".join(self._texts)

    def take_others(self) -> list[tuple[int, str]]:
        """Return what was found beside objects since the last call."""
        others, self.others = self.others, []
        return others

    def _ends_object(self, number: int, brace: str | None, text: str, *, is_rest: bool) -> bool:
        """Take a token, or the rest of one, and return whether an object ends with it."""
        if brace == "{":
            self._open(number)
        elif self.depth:
            self._add(text)
            self.depth -= brace == "}"
            return not self.depth
        elif not is_rest:
            self._add_other(number, text)
        return False

    def _open(self, number: int) -> None:
        if not self.depth:
            self.part = self.part + 1 if number == self.line else 0
            self.line, self._size = number, 0
            self._texts.clear()
        self._add("{")
        self.depth += 1

    def _add(self, text: str) -> None:
        if self._size <= MAX_MESSAGE:  # more would only be too long
            self._texts.append(text)
            self._size += len(text)

    def _add_other(self, number: int, text: str) -> None:
        if other := text.strip(SEPARATORS):
            self.others.append((number, other[:MAX_SHOWN_TEXT]))
