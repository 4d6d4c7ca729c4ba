"""Reads text as rows, CSV or NDJSON, each with its line number and its own text, a few lines at a time.

`relations import` and `relations send` both read files by this.
"""

import csv
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TextIO

import msgspec

from producers.portals.imports.columns import (
    DELIMITERS,
    REQUIRED,
    TableLayout,
    build_message,
    detect_layout,
)
from worker.contract import MAX_MESSAGE
from worker.contract.quoting import quote
from worker.errors import Fault, Invalid

SEPARATOR: Final = "sep="  # Excel writes the delimiter like this, on a line before the header
SEPARATORS: Final = DELIMITERS + "!#$%&*+/:<=>?@^_~"
MAX_HEADER_LINES: Final = 20
MAX_SHOWN_TEXT: Final = 1000  # characters of a line that is too long
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class InputRow(NamedTuple):
    """A row of a file: the number of its first line, from 1, its text, and its message if it can be read.

    `faults` say what is wrong with it; `lines` is how many lines are rejected with it.
    """

    line: int
    text: str
    message: Mapping[str, Any] | None
    faults: Sequence[Fault] = ()
    lines: int = 1


def read_rows(
    text: TextIO,
    *,
    mapping: Mapping[str, str],
    constants: Mapping[str, str],
    required: Sequence[str] = REQUIRED,
) -> Iterator[InputRow]:
    """Yield the rows of CSV with a header, or of NDJSON if the text begins with `{`; blank lines are skipped.

    `mapping` gives columns of other names their field, `constants` are the values of fields that a row leaves
    empty. Every `required` field needs a column or a constant. Raises Invalid for a header that is wrong.
    """
    lines = _LineReader(text)
    first_char = lines.skip_blank().lstrip()[:1]
    if first_char == "[":
        raise Invalid(
            [Fault("", "expected one change per line, got a JSON array; `jq -c '.[]'` makes lines of it")]
        )
    if first_char == "{" and any(mapping.values()):
        raise Invalid([Fault("", "--map is for the columns of CSV, and these are lines of JSON")])
    if first_char == "{":
        yield from _read_json_lines(lines, constants)
    elif first_char:
        yield from _read_csv(lines, mapping, constants, required)


def read_ndjson(text: TextIO, constants: Mapping[str, str] = NOTHING) -> Iterator[InputRow]:
    """Yield the rows of NDJSON without blank lines; bytes that are no text may be surrogate escapes."""
    yield from _read_json_lines(_LineReader(text), constants)


class _LineReader(Iterator[str]):
    """The lines of a text, cut at the longest allowed; can look ahead, and collects what was read."""

    def __init__(self, text: TextIO) -> None:
        self._text, self._ahead, self._taken = text, deque[str](), list[str]()
        self.number = 0

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else self._read_line()
        if not line:
            raise StopIteration
        self.number += 1
        self._taken.append(line)
        return line

    def peek(self, count: int) -> list[str]:
        """Return the next lines without reading on."""
        while len(self._ahead) < count and (line := self._read_line()):
            self._ahead.append(line)
        return list(islice(self._ahead, count))

    def skip_blank(self) -> str:
        """Skip blank lines and return the next one without reading on; empty at the end."""
        while (first := "".join(self.peek(1))) and not first.strip():
            next(self)
        self.take_text()
        return first

    def take_text(self) -> str:
        """Return what was read since the last call."""
        text = "".join(self._taken).rstrip("\r\n")
        self._taken.clear()
        return text

    def _read_line(self) -> str:
        line = rest = self._text.readline(MAX_MESSAGE + 1)
        while len(rest) >= MAX_MESSAGE and not rest.endswith(("\n", "\r")):
            rest = self._text.readline(MAX_MESSAGE)  # the end of a line that is too long is dropped
        return line


def _read_json_lines(lines: _LineReader, constants: Mapping[str, str]) -> Iterator[InputRow]:
    defaults = build_message(constants).message or {}
    for _ in lines:
        if text := lines.take_text().strip():
            yield _parse_json_line(lines.number, text, defaults)


def _parse_json_line(number: int, text: str, defaults: Mapping[str, Any]) -> InputRow:
    if len(text) > MAX_MESSAGE:
        return _too_long(number, text)
    try:
        message = msgspec.json.decode(text.encode(errors="surrogateescape"))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return InputRow(number, text, None, [Fault("", f"expected JSON: {error}")])
    if not isinstance(message, dict):
        return InputRow(
            number, text, None, [Fault("", f"expected a change (an object), got {quote(message)}")]
        )
    values = {name: value for name, value in message.items() if value is not None}
    return InputRow(number, text, {**defaults, **values})


def _read_csv(
    lines: _LineReader, mapping: Mapping[str, str], constants: Mapping[str, str], required: Sequence[str]
) -> Iterator[InputRow]:
    delimiter = _read_separator(lines)
    if not lines.skip_blank():
        return
    head = lines.peek(MAX_HEADER_LINES)
    layout, delimiter = detect_layout(
        head, delimiter, mapping=mapping, constants=constants, required=required
    )
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    next(reader)  # the header
    lines.take_text()
    while True:
        first_line = lines.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield _unreadable(first_line, lines, error)
            continue
        if cells is None:
            return
        text = lines.take_text()
        if any(map(str.strip, cells)):
            yield _parse_record(first_line, lines.number, text, cells, layout)


def _read_separator(lines: _LineReader) -> str:
    """Return the delimiter if the first line names it; empty if it does not."""
    if not lines.skip_blank().lower().startswith(SEPARATOR):
        return ""
    separator = next(lines)[len(SEPARATOR) :].strip("\r\n")
    return separator if len(separator) == 1 and separator in SEPARATORS else ""


def _parse_record(first: int, last: int, text: str, cells: list[str], layout: TableLayout) -> InputRow:
    if len(text) > MAX_MESSAGE:
        return _too_long(first, text)
    message, faults = layout.parse(cells)
    if message is None and last > first:  # the quotation mark of a later line closed the one left open here
        return InputRow(first, text, None, [*faults, _open_quote(first, last)], last - first + 1)
    return InputRow(first, text, message, faults)


def _unreadable(first: int, lines: _LineReader, error: csv.Error) -> InputRow:
    faults = [Fault("", f"cannot be read: {error}"), _open_quote(first, lines.number)]
    return InputRow(first, lines.take_text(), None, faults, lines.number - first + 1)


def _open_quote(first: int, last: int) -> Fault:
    lost = f" Lines {first:,} to {last:,} are rejected with it" if last > first else ""
    return Fault("", f"is a quotation mark left open?{lost}")


def _too_long(number: int, text: str) -> InputRow:
    expected = f"expected at most {MAX_MESSAGE} characters in a line"
    return InputRow(number, text[:MAX_SHOWN_TEXT], None, [Fault("", expected)])
