"""Reads text as rows, CSV or JSON, each with its line number and its own text, a few lines at a time.

`relations import` and `relations send` both read files by this.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final, TextIO
from zoneinfo import ZoneInfo

from producers.portals.imports.columns import TableLayout, build_message
from producers.portals.imports.header import DELIMITERS, MAX_HEADER_LINES, TableOptions, find_header
from producers.portals.imports.json_rows import read_json_rows
from producers.portals.imports.lines import InputRow, LineReader
from worker.contract import MAX_MESSAGE
from worker.contract.instant import read_local
from worker.contract.quoting import quote
from worker.errors import Fault, Invalid

SEPARATOR: Final = "sep="  # Excel writes the delimiter like this, on a line before the header
END_OF_FILE: Final = "\x1a"  # as DOS programs write it
SEPARATORS: Final = DELIMITERS + "!#$%&*+/:<=>?@^_~"


def read_rows(text: TextIO, options: TableOptions) -> Iterator[InputRow]:
    """Yield the rows of CSV with a header, or of JSON if the text begins with `{` or `[`; skip blank lines.

    Raises Invalid for a header that is wrong.
    """
    lines = LineReader(text)
    first_char = lines.skip_blank().lstrip()[:1]
    is_json = first_char in ("{", "[")
    if is_json and (any(options.mapping.values()) or options.header_row or options.has_index):
        raise Invalid(
            [
                Fault(
                    "",
                    "--map, --header-row and --index are for the columns of CSV, and these are lines of JSON",
                )
            ]
        )
    if is_json:
        yield from read_json_rows(lines, build_message(options.constants).message or {})
    elif first_char:
        yield from _read_csv(lines, options)


def read_ndjson(text: TextIO) -> Iterator[InputRow]:
    """Yield the rows of JSON without blank lines; bytes that are no text may be surrogate escapes."""
    return read_json_rows(LineReader(text), {})


def _read_csv(lines: LineReader, options: TableOptions) -> Iterator[InputRow]:
    delimiter = _read_separator(lines)
    _skip_lines(lines, options.header_row - 1 - lines.number)
    if not lines.skip_blank():
        return
    header = find_header(lines.peek(MAX_HEADER_LINES), delimiter, options)
    _skip_lines(lines, header.above)
    reader = csv.reader(lines, delimiter=header.delimiter, strict=True)
    next(reader)  # the names
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
        if text != END_OF_FILE and any(map(str.strip, cells)):
            yield _parse_record(first_line, lines.number, text, cells, header.layout)


def _skip_lines(lines: LineReader, count: int) -> None:
    for _ in islice(lines, max(0, count)):
        lines.take_text()


def _read_separator(lines: LineReader) -> str:
    """Return the delimiter if the first line names it; empty if it does not."""
    if not lines.skip_blank().lower().startswith(SEPARATOR):
        return ""
    separator = next(lines)[len(SEPARATOR) :].strip("\r\n")
    return separator if len(separator) == 1 and separator in SEPARATORS else ""


def _parse_record(first: int, last: int, text: str, cells: list[str], layout: TableLayout) -> InputRow:
    if len(text) > MAX_MESSAGE:
        return InputRow.too_long(first, text)
    message, faults = layout.parse(cells)
    if message is None and last > first:  # the quotation mark of a later line closed the one left open here
        return InputRow(first, text, None, [*faults, _open_quote(first, last)], last - first + 1)
    return InputRow(first, text, message, faults)


def _unreadable(first: int, lines: LineReader, error: csv.Error) -> InputRow:
    faults = [Fault("", f"cannot be read: {error}"), _open_quote(first, lines.number)]
    return InputRow(first, lines.take_text(), None, faults, lines.number - first + 1)


def _open_quote(first: int, last: int) -> Fault:
    lost = f" Lines {first:,} to {last:,} are rejected with it" if last > first else ""
    return Fault("", f"is a quotation mark left open?{lost}")


# --- times without an offset, as spreadsheets and people write them, of a time zone that the caller names

FIELD: Final = "occurred_at"
OFFSET: Final = re.compile("(Z|[+-][0-9]{2}:?[0-9]{2})$", re.IGNORECASE)


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name, such as Europe/Berlin; raises Invalid."""
    with suppress(KeyError, OSError, ValueError):  # no such zone, or no name of one
        return ZoneInfo(name)
    raise Invalid([Fault("", f"there is no time zone {quote(name)}; there are Europe/Berlin and others")])


def write_offset(row: InputRow, zone: ZoneInfo | None) -> InputRow:
    """Return the row with the offset of its time in the zone, or with the fault that it has none."""
    text = row.message.get(FIELD) if row.message else None
    if not isinstance(text, str) or OFFSET.search(text):  # nearly always it has one
        return row
    if (moment := read_local(text)) is None:
        return row
    if zone is None:
        hint = "write it as 2026-11-21T03:00:00+01:00, or say its zone with --time-zone Europe/Berlin"
        return _add_fault(row, f"{quote(text)} has no offset; {hint}")
    local = moment.replace(tzinfo=zone)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        return _add_fault(row, f"{quote(text)} is no time in {zone}, or two: clocks change; write its offset")
    return row._replace(message={**(row.message or {}), FIELD: local.isoformat()})


def _add_fault(row: InputRow, message: str) -> InputRow:
    return row._replace(faults=[*row.faults, Fault(FIELD, message)])
