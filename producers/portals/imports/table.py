"""A table's header understood, and its cells as a message: which column is which field, by its name, an alias or the caller's word."""

import csv
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from worker.contract.words import did_you_mean
from worker.errors import Fault, Invalid

DELIMITERS: Final = ",;\t|"
INFO: Final = ("statusTerminbestaetigung", "statusTerminrueckmeldung")
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {  # as they are after `_plain`
    "account": ("konto",),
    "action": ("aktion", "verb", "operation"),
    "relationtype": ("type", "relation", "typ", "beziehung", "beziehungstyp"),
    "parentid": ("parent", "parents", "parentids"),
    "childid": ("child", "children", "childids"),
    "occurredat": ("occurred", "time", "timestamp", "zeitpunkt"),
    "eventid": ("event",),
    "source": ("quelle",),
    "batch": ("label",),
}
FIELDS: Final = ("account", "action", "relationtype", "parentid", "childid", "occurred_at", "event_id", "source", "batch", *INFO)
REQUIRED: Final = ("action", "relationtype", "parentid", "childid")
THOUSANDS: Final = re.compile(r"[0-9]{1,3}([.,'’][0-9]{3})+")


class Layout(NamedTuple):
    """The field of each column (empty: left out), and the fields whose value is given where a row has none."""

    fields: tuple[str, ...]
    constants: Mapping[str, str]

    def message(self, cells: Sequence[str]) -> dict[str, Any]:
        """What a row says; raises Invalid for ids that are none."""
        said = {field: cell.strip() for field, cell in zip(self.fields, cells, strict=True) if field and cell.strip()}
        return _message({**self.constants, **said})


def layout(header: str, mapping: Mapping[str, str], constants: Mapping[str, str], *, delimiter: str = "") -> tuple[Layout, str]:
    """What the columns mean, and what separates them: that under which most names are known. Raises Invalid with every fault."""
    known = {_plain(field): field for field in FIELDS}
    known |= {alias: known[field] for field, aliases in ALIASES.items() for alias in aliases}
    known |= {_plain(column): field for column, field in mapping.items()}
    choices = {each: next(csv.reader([header.strip("\r\n")], delimiter=each)) for each in delimiter or DELIMITERS}
    chosen = max(choices, key=lambda each: (sum(_plain(name) in known for name in choices[each]), len(choices[each])))
    names = choices[chosen]
    fields = tuple(known.get(_plain(name), "") for name in names)
    faults = [*_unknown(names, known), *_twice(fields), *_missing(fields, constants)]
    if faults:
        raise Invalid(faults)
    return Layout(fields, constants), chosen


def field_of(name: str) -> str:
    """The field a person means; empty for none."""
    return next((field for field in FIELDS if _plain(name) == _plain(field)), "")


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]", "", name).lower()


def _unknown(names: Sequence[str], known: Mapping[str, str]) -> list[Fault]:
    words = 'column "{0}" is not known{1}; name its field with --map "{0}=FIELD", or leave it out with --map "{0}="'
    return [Fault("header", words.format(name, did_you_mean(name, FIELDS))) for name in names if _plain(name) not in known]


def _twice(fields: Sequence[str]) -> list[Fault]:
    return [Fault("header", f"{field} stands in several columns") for field in FIELDS if fields.count(field) > 1]


def _missing(fields: Sequence[str], constants: Mapping[str, str]) -> list[Fault]:
    return [
        Fault("header", f"no column for {field}; name one with --map COLUMN={field}, or the value with --set {field}=VALUE")
        for field in REQUIRED
        if field not in fields and field not in constants
    ]


def _message(said: Mapping[str, str]) -> dict[str, Any]:
    message: dict[str, Any] = {field: value for field, value in said.items() if field not in INFO}
    info = {field: said[field] for field in INFO if field in said}
    if info:
        message["relationinfo"] = info
    if "action" in said:
        message["action"] = said["action"].lower()
    for side in ("parentid", "childid"):
        if side in said:
            message[side] = _ids(said[side], side)
    return message


def _ids(text: str, side: str) -> int | list[int]:
    """One id, or several between blanks, commas, semicolons or bars."""
    if THOUSANDS.fullmatch(text):
        hint = re.sub("[^0-9]", "", text)
        several = "; separate several ids by blanks" if "," in text else ""
        raise Invalid([Fault(side, f'expected an id, got "{text}": write a number without thousands separators, {hint}{several}')])
    words = re.split(r"[\s,;|]+", text)
    if wrong := next((word for word in words if not (word.isascii() and word.isdecimal())), None):
        raise Invalid([Fault(side, f'expected an id, a positive whole number, got "{wrong}"')])
    return int(words[0]) if len(words) == 1 else list(map(int, words))
