"""Text as rows: what each line of CSV or NDJSON says, with its number and its own words. One line in memory at a time."""

import csv
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TextIO

import msgspec

from producers.portals.imports.table import Layout, layout
from worker.contract import MAX_MESSAGE
from worker.errors import Fault, Invalid

SEPARATOR: Final = "sep="  # Excel's word for the delimiter, on a line before the header


class Row(NamedTuple):
    """A line, from 1, its text, and the message in it; without one, `fault` says why."""

    line: int
    text: str
    message: Mapping[str, Any] | None
    fault: Fault | None = None


class _Lines:
    """The lines of a text, at most so long each; remembers those that were read since `take`."""

    def __init__(self, text: TextIO) -> None:
        self._text, self._held, self.number = text, list[str](), 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(MAX_MESSAGE + 1):
            self.number += 1
            self._held.append(line)
            if len(line) > MAX_MESSAGE and not line.endswith(("\n", "\r")):
                self._skip()
            yield line

    def take(self) -> str:
        """What was read since the last time."""
        text = "".join(self._held).rstrip("\r\n")
        self._held.clear()
        return text

    def _skip(self) -> None:
        while (rest := self._text.readline(MAX_MESSAGE)) and not rest.endswith(("\n", "\r")):
            pass


def rows(text: TextIO, *, mapping: Mapping[str, str], constants: Mapping[str, str]) -> Iterator[Row]:
    """The rows of CSV with a header, or of NDJSON if the text begins with `{`; blank lines are none.

    `mapping` gives columns of other names their field, `constants` fields their value where a line has none. Raises Invalid for a
    header that cannot be understood.
    """
    lines = _Lines(text)
    for first in lines:
        if not first.strip():
            lines.take()
        elif first.lstrip()[0] == "{":
            yield from _ndjson(lines, first, constants)
        elif first.lstrip()[0] == "[":
            raise Invalid([Fault("", "expected one change per line, got a JSON array; `jq -c '.[]'` makes lines of it")])
        else:
            yield from _csv(lines, first, mapping, constants)


def _ndjson(lines: _Lines, first: str, constants: Mapping[str, str]) -> Iterator[Row]:
    line: str | None = first
    rest = iter(lines)
    filled = Layout((), constants).message([])
    while line is not None:
        if text := lines.take().strip():
            yield _object(lines.number, text, filled)
        line = next(rest, None)


def _object(number: int, text: str, constants: Mapping[str, Any]) -> Row:
    if len(text) > MAX_MESSAGE:
        return Row(number, text[:1000], None, Fault("", f"expected at most {MAX_MESSAGE} characters in a line"))
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return Row(number, text, None, Fault("", f"expected JSON: {error}"))
    if not isinstance(found, dict):
        return Row(number, text, None, Fault("", "expected a change (an object)"))
    return Row(number, text, {**constants, **{name: value for name, value in found.items() if value is not None}})


def _csv(lines: _Lines, first: str, mapping: Mapping[str, str], constants: Mapping[str, str]) -> Iterator[Row]:
    delimiter, source = "", iter(lines)
    if first.lower().startswith(SEPARATOR):
        delimiter, first = first.strip()[len(SEPARATOR) :], next(source, "")
    shape, delimiter = layout(first, mapping, constants, delimiter=delimiter)
    lines.take()
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        began = lines.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Row(began, lines.take(), None, Fault("", f"cannot be read ({error}); is a quotation mark left open?"))
            continue
        if cells is None:
            return
        text = lines.take()
        if any(map(str.strip, cells)):
            yield _record(began, text, cells, shape)


def _record(number: int, text: str, cells: list[str], shape: Layout) -> Row:
    if len(cells) != len(shape.fields):
        return Row(number, text, None, Fault("", f"expected {len(shape.fields)} cells as in the header, got {len(cells)}"))
    try:
        return Row(number, text, shape.message(cells))
    except Invalid as error:
        return Row(number, text, None, error.faults[0])
