"""Text as rows: what each line of CSV or NDJSON says, with its number and its own words. A few lines in memory at a time."""

import csv
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TextIO

import msgspec

from producers.portals.imports.columns import DELIMITERS, REQUIRED, Layout, layout, message_of
from worker.contract import MAX_MESSAGE
from worker.errors import Fault, Invalid

SEPARATOR: Final = "sep="  # Excel's word for the delimiter, on a line before the header
PUNCTUATION: Final = DELIMITERS + "!#$%&*+/:<=>?@^_~"
HEADER: Final = 20  # lines a header may take
KEPT: Final = 1000  # characters of a line that is too long


class Row(NamedTuple):
    """A line, from 1, its text, and the message in it, if there is one; `faults` say what is wrong, `lines` how many are lost with it."""

    line: int
    text: str
    message: Mapping[str, Any] | None
    faults: Sequence[Fault] = ()
    lines: int = 1


class _Lines(Iterator[str]):
    """The lines of a text, at most so long each; remembers those that were read since `take`, and can look ahead."""

    def __init__(self, text: TextIO) -> None:
        self._text, self._held, self._ahead, self.number = text, list[str](), deque[str](), 0

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self._held.append(line)
        return line

    def ahead(self, count: int) -> list[str]:
        """The next lines, which are still to come."""
        while len(self._ahead) < count and (line := self._read()):
            self._ahead.append(line)
        return list(islice(self._ahead, count))

    def begin(self) -> str:
        """The next line that is not blank, still to come; empty at the end."""
        while (first := "".join(self.ahead(1))) and not first.strip():
            next(self)
        self.take()
        return first

    def take(self) -> str:
        """What was read since the last time."""
        text = "".join(self._held).rstrip("\r\n")
        self._held.clear()
        return text

    def _read(self) -> str:
        line = rest = self._text.readline(MAX_MESSAGE + 1)
        while len(rest) >= MAX_MESSAGE and not rest.endswith(("\n", "\r")):
            rest = self._text.readline(MAX_MESSAGE)  # and forget it
        return line


def rows(
    text: TextIO,
    *,
    mapping: Mapping[str, str],
    constants: Mapping[str, str],
    needed: Sequence[str] = REQUIRED,
) -> Iterator[Row]:
    """The rows of CSV with a header, or of NDJSON if the text begins with `{`; blank lines are none.

    `mapping` gives columns of other names their field, `constants` fields their value where a line has none; the fields `needed` are
    to be told by a column or a constant. Raises Invalid for a header that cannot be understood.
    """
    lines = _Lines(text)
    begins = lines.begin().lstrip()[:1]
    if begins == "[":
        raise Invalid(
            [Fault("", "expected one change per line, got a JSON array; `jq -c '.[]'` makes lines of it")]
        )
    if begins == "{" and any(mapping.values()):
        raise Invalid([Fault("", "--map is for the columns of CSV, and these are lines of JSON")])
    if begins:
        yield from _ndjson(lines, constants) if begins == "{" else _csv(lines, mapping, constants, needed)


def _ndjson(lines: _Lines, constants: Mapping[str, str]) -> Iterator[Row]:
    filled = message_of(constants).message or {}
    for _ in lines:
        if text := lines.take().strip():
            yield _object(lines.number, text, filled)


def _object(number: int, text: str, filled: Mapping[str, Any]) -> Row:
    if len(text) > MAX_MESSAGE:
        return _too_long(number, text)
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return Row(number, text, None, [Fault("", f"expected JSON: {error}")])
    if not isinstance(found, dict):
        return Row(number, text, None, [Fault("", "expected a change (an object)")])
    return Row(
        number, text, {**filled, **{name: value for name, value in found.items() if value is not None}}
    )


def _csv(
    lines: _Lines, mapping: Mapping[str, str], constants: Mapping[str, str], needed: Sequence[str]
) -> Iterator[Row]:
    said = _separator(lines)
    if not lines.begin():
        return
    shape, delimiter = layout(lines.ahead(HEADER), said, mapping=mapping, constants=constants, needed=needed)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    next(reader)
    lines.take()
    while True:
        began = lines.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield _unreadable(began, lines, error)
            continue
        if cells is None:
            return
        text = lines.take()
        if any(map(str.strip, cells)):
            yield _record(began, lines.number, text, cells, shape)


def _separator(lines: _Lines) -> str:
    """The delimiter if Excel says it."""
    if not lines.begin().lower().startswith(SEPARATOR):
        return ""
    said = next(lines)[len(SEPARATOR) :].strip("\r\n")
    return said if len(said) == 1 and said in PUNCTUATION else ""


def _record(began: int, ended: int, text: str, cells: list[str], shape: Layout) -> Row:
    if len(text) > MAX_MESSAGE:
        return _too_long(began, text)
    message, faults = shape.read(cells)
    if message is None and ended > began:  # a quotation mark that was closed by a later line's
        return Row(began, text, None, [*faults, _swallowed(began, ended)], ended - began + 1)
    return Row(began, text, message, faults)


def _unreadable(began: int, lines: _Lines, error: csv.Error) -> Row:
    faults = [Fault("", f"cannot be read: {error}"), _swallowed(began, lines.number)]
    return Row(began, lines.take(), None, faults, lines.number - began + 1)


def _swallowed(began: int, ended: int) -> Fault:
    lost = f" Lines {began:,} to {ended:,} are rejected with it" if ended > began else ""
    return Fault("", f"is a quotation mark left open?{lost}")


def _too_long(number: int, text: str) -> Row:
    return Row(number, text[:KEPT], None, [Fault("", f"expected at most {MAX_MESSAGE} characters in a line")])
