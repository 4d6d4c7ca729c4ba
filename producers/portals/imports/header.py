"""Finds a table's header: its line, its delimiter, and which column holds which field.

A column is known by its field's name, by an alias, or by the name that the caller maps to a field.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from types import MappingProxyType
from typing import Final, NamedTuple

from producers.portals.imports.columns import (
    BLANKS,
    FIELDS,
    REQUIRED,
    SIDES,
    TableLayout,
    find_field,
    names_records,
    normalize,
)
from worker.contract import limit_faults
from worker.contract.quoting import escape_unprintable, quote, suggest
from worker.errors import Fault, Invalid

DELIMITERS: Final = ",;\t|"
MAX_HEADER_LINES: Final = 20  # that a header and what stands above it may have
MAX_NAME: Final = 60  # characters of a column's name that are shown
MAX_NAMES: Final = 60  # columns that are listed
DATA: Final = re.compile(r"[0-9]+([.,]0+)?")  # a cell that is no name
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class TableOptions(NamedTuple):
    """How a table is to be read.

    `mapping` gives columns of other names their field, `constants` are the values of fields that a row leaves
    empty. Every `required` field needs a column or a constant. `header_row` is the line of the header, from
    1, if what stands above it is to be left out; `has_index` that the first column only numbers the lines.
    """

    mapping: Mapping[str, str] = NOTHING
    constants: Mapping[str, str] = NOTHING
    required: Sequence[str] = REQUIRED
    header_row: int = 0
    has_index: bool = False


class Header(NamedTuple):
    """What the columns hold, their delimiter, and how many lines stand above the header."""

    layout: TableLayout
    delimiter: str
    above: int = 0


def find_header(head: Sequence[str], delimiter: str, options: TableOptions) -> Header:
    """Return the header among the first lines; raises Invalid with every fault of the first one.

    Without a `delimiter` it is the one by which the most names are known. Lines above, such as a title, are
    passed over if a later line is a header without fault, unless the options say which line it is.
    """
    try:
        return _read_header(head, delimiter, options)
    except Invalid as error:
        for above in range(1, 1 if options.header_row else len(head)):
            with suppress(Invalid):
                return _read_header(head[above:], delimiter, options)._replace(above=above)
        raise Invalid(_explain_first_line(head, delimiter, error.faults)) from None


def _read_header(head: Sequence[str], delimiter: str, options: TableOptions) -> Header:
    mapping, constants = options.mapping, options.constants
    mapped = {normalize(column): field for column, field in mapping.items()}
    candidates = {char: rows for char in delimiter or DELIMITERS if (rows := _split(head, char))}
    if not candidates:
        raise Invalid([Fault("header", "has no names that can be read; is a quotation mark left open?")])

    def count_known(char: str) -> tuple[int, int]:
        names = candidates[char][0]
        return sum(_find_meaning(name, mapped) is not None for name in names), len(names)

    chosen = max(candidates, key=count_known)
    names, *rows = candidates[chosen]
    has_index = options.has_index or _has_index(names, rows)
    if has_index:  # R writes no name for it, and no empty one either
        names = ["", *names] if rows and _is_longer(rows[0], names) else ["", *names[1:]]
    fields = [_find_meaning(name, mapped) or "" if name else "" for name in names]
    faults = chain(
        _find_unknown(names, mapped),
        _find_absent(names, mapping),
        _find_duplicates(fields),
        _find_missing(fields, constants, options.required),
    )
    if listed := limit_faults(faults):
        raise Invalid(listed)
    return Header(TableLayout(names, fields, constants, has_index=has_index), chosen)


def _find_meaning(name: str, mapped: Mapping[str, str]) -> str | None:
    """Return the field of a column, empty if it is to be left out; None if it is not known."""
    return mapped.get(normalize(name), find_field(name) or None)


def _split(head: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the records of the first lines, which may contain line breaks; none if there are no names."""
    rows = list[list[str]]()
    with suppress(csv.Error):
        for cells in csv.reader(head, delimiter=delimiter, strict=True):
            rows.append([cell.strip(BLANKS) for cell in cells])
    return [row for row in rows if any(row)] if rows and any(rows[0]) else []


def _has_index(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether a first column without a name counts the lines: from 0 (pandas) or 1 (R)."""
    has_name = names[0] and not (len(rows) > 1 and all(_is_longer(row, names) for row in rows))
    numbers = [row[0] for row in rows]
    return not has_name and any(
        numbers and numbers == [str(start + at) for at in range(len(numbers))] for start in (0, 1)
    )


def _is_longer(row: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether a record has one cell more than there are names, as R writes a table with row names."""
    return len(row) == len(names) + 1 and bool(row[-1])


def _explain_first_line(head: Sequence[str], delimiter: str, faults: Sequence[Fault]) -> Sequence[Fault]:
    """Return what is wrong with a first line, by its faults as a header: it may be data, or a title."""
    candidates = (rows[0] for char in delimiter or DELIMITERS if (rows := _split(head, char)))
    names = max(candidates, key=len, default=[])
    shown = quote(head[0].strip())
    if any(map(DATA.fullmatch, names)):
        remedy = f"put a line of names above it, such as {', '.join(REQUIRED)}"
        return [Fault("header", f"is missing, for the first line is data, {shown}; {remedy}")]
    if len(names) == 1:
        remedy = "if the names stand in a later line, say which with --header-row"
        return [Fault("header", f"the first line, {shown}, looks like a title; {remedy}"), *faults]
    return faults


def _find_unknown(names: Sequence[str], mapped: Mapping[str, str]) -> Iterator[Fault]:
    for name in names:
        if name and _find_meaning(name, mapped) is None:
            shown, hint = _show_name(name), suggest(name, FIELDS)
            remedy = f'ame its field with --map "{shown}=FIELD", or leave it out with --map "{shown}="'
            yield Fault("header", f'column "{shown}" is not known{hint}{" N" if hint else "; n"}{remedy}')


def _find_absent(names: Sequence[str], mapping: Mapping[str, str]) -> Iterator[Fault]:
    """Find mapped columns that do not exist; to leave out one that does not exist does no harm."""
    existing = {normalize(name): _show_name(name) for name in names if name}
    for column, field in mapping.items():
        if field and normalize(column) not in existing:
            listed = ", ".join(islice(existing.values(), MAX_NAMES))
            yield Fault("header", f"there is no column {quote(column)}, as --map says; there are {listed}")


def _find_duplicates(fields: Sequence[str]) -> Iterator[Fault]:
    named = dict.fromkeys((*FIELDS, *filter(names_records, fields)))
    return (
        Fault("header", f"{field} stands in several columns") for field in named if fields.count(field) > 1
    )


def _find_missing(
    fields: Sequence[str], constants: Mapping[str, str], required: Sequence[str]
) -> Iterator[Fault]:
    by_value = [field.partition("=")[0] for field in fields if names_records(field)]
    for field in required:
        if field in SIDES and (field in by_value or any(map(names_records, by_value))):
            continue  # or, where the type has to say which side a value is on, the row may lack it
        if field not in fields and field not in constants:
            option = "--account NAME" if field == "account" else f"--set {field}=VALUE"
            hint = f"name one with --map COLUMN={field}, or the value with {option}"
            yield Fault("header", f"no column for {field}; {hint}")


def _show_name(name: str) -> str:
    """Return a column's name as --map takes it, where blanks and line breaks do not count."""
    text = escape_unprintable(" ".join(name.split()))
    return text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}…"
