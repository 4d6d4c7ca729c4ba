"""Reads a table's header and the cells of its rows: which column holds which field, and the message of a row.

A column is known by its field's name, by an alias, or by the name that the caller maps to a field.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from worker.contract import limit_faults
from worker.contract.catalogue import INFO
from worker.contract.fields import find_faults
from worker.contract.quoting import escape_unprintable, quote, suggest
from worker.errors import Fault, Invalid

DELIMITERS: Final = ",;\t|"
MAX_ID_DIGITS: Final = 20  # that are read; the greatest id that is accepted has 16
MAX_NAME: Final = 60  # characters of a column's name that are shown
MAX_NAMES: Final = 60  # columns that are listed
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {  # as `normalize` returns them
    "account": ("konto",),
    "action": ("aktion", "verb", "operation"),
    "relationtype": ("type", "relation", "typ", "beziehung", "beziehungstyp"),
    "parentid": ("parent", "parents", "parentids"),
    "childid": ("child", "children", "childids"),
    "occurred_at": ("occurred", "time", "timestamp", "zeitpunkt"),
    "event_id": ("event",),
    "source": ("quelle",),
    "batch": ("label",),
    "allow_empty": (),
}
FIELDS: Final = (*ALIASES, *INFO)
FLAGS: Final = {"true": True, "1": True, "yes": True, "ja": True} | {
    "false": False,
    "0": False,
    "no": False,
    "nein": False,
}
REQUIRED: Final = ("action", "relationtype", "parentid", "childid")
THOUSANDS: Final = re.compile(r"[0-9]{1,3}([.,'’][0-9]{3})+")


class ParsedCells(NamedTuple):
    """The message of a row, without the fields whose cells are wrong, and what is wrong.

    There is no message if the cells cannot be those of one row.
    """

    message: dict[str, Any] | None
    faults: Sequence[Fault] = ()


class TableLayout:
    """The field of each column, and the constants: values of fields that a row leaves empty.

    A column without a name is allowed as long as its cells are empty: spreadsheets write it where a cell was
    touched once.
    """

    def __init__(self, names: Sequence[str], fields: Sequence[str], constants: Mapping[str, str]) -> None:
        self._constants = constants
        self._fields = [(index, field) for index, field in enumerate(fields) if field]
        self._nameless = [index for index, name in enumerate(names) if not name]
        self._width = len(names)
        self._min_width = max(number for number, name in enumerate(names, start=1) if name)

    def parse(self, cells: Sequence[str]) -> ParsedCells:
        """Return the message of a row, and what is wrong with its cells."""
        if len(cells) < self._min_width or any(map(str.strip, cells[self._width :])):
            expected = f"expected {self._min_width} cells as in the header, got {len(cells)}"
            return ParsedCells(None, [Fault("", expected)])
        values = {field: cell for index, field in self._fields if (cell := cells[index].strip())}
        nameless = [
            _explain_nameless(index + 1, cells[index])
            for index in self._nameless
            if index < len(cells) and cells[index].strip()
        ]
        message, faults = build_message({**self._constants, **values})
        # A wrong cell with a line break most likely holds the next lines, after a quotation mark left open.
        spans_lines = any("\n" in values.get(fault.path, "") for fault in faults)
        return ParsedCells(None if spans_lines else message, [*nameless, *faults])


def detect_layout(
    head: Sequence[str],
    delimiter: str,
    *,
    mapping: Mapping[str, str],
    constants: Mapping[str, str],
    required: Sequence[str] = REQUIRED,
) -> tuple[TableLayout, str]:
    """Return what the columns hold and their delimiter, by the first lines; raises Invalid with every fault.

    Without a `delimiter` it is the one by which the most names are known.
    """
    known = _FIELD_BY_NAME | {normalize(column): field for column, field in mapping.items()}
    candidates = {char: names for char in delimiter or DELIMITERS if (names := _split_header(head, char))}
    if not candidates:
        raise Invalid([Fault("header", "has no names that can be read; is a quotation mark left open?")])

    def count_known(char: str) -> tuple[int, int]:
        return sum(normalize(name) in known for name in candidates[char]), len(candidates[char])

    chosen = max(candidates, key=count_known)
    names = candidates[chosen]
    fields = [known.get(normalize(name), "") if name else "" for name in names]
    faults = chain(
        _find_unknown(names, known),
        _find_absent(names, mapping),
        _find_duplicates(fields),
        _find_missing(fields, constants, required),
    )
    if listed := limit_faults(faults):
        raise Invalid(listed)
    return TableLayout(names, fields, constants), chosen


def normalize(name: str) -> str:
    """Return a column's name as it is compared: in lower case, without blanks, `_`, `.` and `-`."""
    return re.sub(r"[\s_.-]", "", name).lower()


_FIELD_BY_NAME: Final[dict[str, str]] = {normalize(field): field for field in FIELDS} | {
    alias: field for field, aliases in ALIASES.items() for alias in aliases
}


def find_field(name: str) -> str:
    """Return the field of this name or alias; empty if there is none."""
    return _FIELD_BY_NAME.get(normalize(name), "")


def build_message(values: Mapping[str, str]) -> ParsedCells:
    """Return the message of these texts by field, and what is wrong with its ids."""
    message: dict[str, Any] = {field: text for field, text in values.items() if field not in INFO}
    if info := {field: values[field] for field in INFO if field in values}:
        message["relationinfo"] = info
    if "action" in values:
        message["action"] = values["action"].lower()
    if "allow_empty" in values:
        message["allow_empty"] = FLAGS.get(values["allow_empty"].lower(), values["allow_empty"])
    faults = list[Fault]()
    for side in ("parentid", "childid"):
        text = message.pop(side, "")
        if wrong := list(_check_ids(text, side)):
            faults += wrong
        elif text:
            message[side] = int(text) if _is_id(text) else list(map(int, _split_ids(text)))
    return ParsedCells(message, faults)


def check_values(values: Mapping[str, str]) -> list[Fault]:
    """Return what is wrong with each of these texts by itself, whatever the other fields of a row may be."""
    message, faults = build_message(values)
    missing = [Fault(side, "is required") for side in ("parentid", "childid") if values.get(side) == ""]
    return [*faults, *missing, *find_faults(message, incomplete=True)]


# --- the header


def _split_header(head: Sequence[str], delimiter: str) -> tuple[str, ...]:
    """Return the names in the first record, which may contain line breaks; none if it cannot be split."""
    names = list[str]()
    with suppress(csv.Error):
        names = [name.strip() for name in next(csv.reader(head, delimiter=delimiter, strict=True), [])]
    return tuple(names) if any(names) else ()


def _find_unknown(names: Sequence[str], known: Mapping[str, str]) -> Iterator[Fault]:
    for name in names:
        if name and normalize(name) not in known:
            shown, hint = _show_name(name), suggest(name, FIELDS)
            yield Fault(
                "header",
                f'column "{shown}" is not known{hint}; '
                f'name its field with --map "{shown}=FIELD", or leave it out with --map "{shown}="',
            )


def _find_absent(names: Sequence[str], mapping: Mapping[str, str]) -> Iterator[Fault]:
    """Find mapped columns that do not exist; to leave out one that does not exist does no harm."""
    existing = {normalize(name): _show_name(name) for name in names if name}
    for column, field in mapping.items():
        if field and normalize(column) not in existing:
            listed = ", ".join(islice(existing.values(), MAX_NAMES))
            yield Fault("header", f"there is no column {quote(column)}, as --map says; there are {listed}")


def _find_duplicates(fields: Sequence[str]) -> Iterator[Fault]:
    return (
        Fault("header", f"{field} stands in several columns") for field in FIELDS if fields.count(field) > 1
    )


def _find_missing(
    fields: Sequence[str], constants: Mapping[str, str], required: Sequence[str]
) -> Iterator[Fault]:
    for field in required:
        if field not in fields and field not in constants:
            option = "--account NAME" if field == "account" else f"--set {field}=VALUE"
            hint = f"name one with --map COLUMN={field}, or the value with {option}"
            yield Fault("header", f"no column for {field}; {hint}")


def _show_name(name: str) -> str:
    """Return a column's name as --map takes it, where blanks and line breaks do not count."""
    text = escape_unprintable(" ".join(name.split()))
    return text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}…"


# --- the cells


def _explain_nameless(number: int, cell: str) -> Fault:
    return Fault("", f"column {number} has no name in the header, but this line says {quote(cell)} in it")


def _check_ids(text: str, side: str) -> Iterator[Fault]:
    """Find what keeps a cell from being one or several ids: each word that is not one."""
    if not text or _is_id(text):  # nearly always
        return
    if THOUSANDS.fullmatch(text):
        number = re.sub("[^0-9]", "", text)[:MAX_ID_DIGITS]
        hint = f"write a number without thousands separators, {number}"
        several = "; separate several ids by blanks" if "," in text else ""
        yield Fault(side, f"expected an id, got {quote(text)}: {hint}{several}")
    elif "\n" in text and re.search(r"[,;|\t]", text):  # more likely the next line's cells than ids
        yield Fault(side, f"expected ids, got several lines, {quote(text)}")
    else:
        wrong = (word for word in _split_ids(text) if not _is_id(word))
        yield from (
            Fault(side, f"expected an id, a positive whole number, got {quote(word)}") for word in wrong
        )


def _is_id(word: str) -> bool:
    return word.isdecimal() and word.isascii() and len(word) <= MAX_ID_DIGITS


def _split_ids(text: str) -> list[str]:
    """Split ids at blanks, commas, semicolons and bars."""
    return re.split(r"[\s,;|]+", text)
