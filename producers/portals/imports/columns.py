"""A table's header understood, and its cells as a message: which column is which field, by its name, an alias or the caller's word."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from worker.contract import limit_faults
from worker.contract.fields import find_faults
from worker.contract.quoting import escape_unprintable, quote, suggest
from worker.errors import Fault, Invalid

DELIMITERS: Final = ",;\t|"
LONGEST: Final = 20  # digits of an id that are read; the greatest that is accepted has 16
SHOWN: Final = 60  # characters of a column's name, and columns that are listed
INFO: Final = ("statusTerminbestaetigung", "statusTerminrueckmeldung")
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {  # as they are after `_plain`
    "account": ("konto",),
    "action": ("aktion", "verb", "operation"),
    "relationtype": ("type", "relation", "typ", "beziehung", "beziehungstyp"),
    "parentid": ("parent", "parents", "parentids"),
    "childid": ("child", "children", "childids"),
    "occurred_at": ("occurred", "time", "timestamp", "zeitpunkt"),
    "event_id": ("event",),
    "source": ("quelle",),
    "batch": ("label",),
}
FIELDS: Final = (
    "account",
    "action",
    "relationtype",
    "parentid",
    "childid",
    "occurred_at",
    "event_id",
    "source",
    "batch",
    *INFO,
)
REQUIRED: Final = ("action", "relationtype", "parentid", "childid")
THOUSANDS: Final = re.compile(r"[0-9]{1,3}([.,'’][0-9]{3})+")


class Cells(NamedTuple):
    """What a row says, without the fields whose cells are wrong, and what is wrong; no message if the cells are not those of one row."""

    message: dict[str, Any] | None
    faults: Sequence[Fault] = ()


class Layout:
    """The columns' names, the field of each (empty: left out), and the fields whose value is given where a row has none.

    A column without a name is none as long as nothing stands in it: a spreadsheet writes them where a cell was once touched.
    """

    def __init__(self, names: Sequence[str], fields: Sequence[str], constants: Mapping[str, str]) -> None:
        self._constants = constants
        self._wanted = [(at, field) for at, field in enumerate(fields) if field]
        self._nameless = [at for at, name in enumerate(names) if not name]
        self._width, self._named = len(names), max(at for at, name in enumerate(names, start=1) if name)

    def read(self, cells: Sequence[str]) -> Cells:
        """What a row says."""
        if len(cells) < self._named or any(map(str.strip, cells[self._width :])):
            return Cells(
                None, [Fault("", f"expected {self._named} cells as in the header, got {len(cells)}")]
            )
        said = {field: cell for at, field in self._wanted if (cell := cells[at].strip())}
        strange = [
            _stranger(at + 1, cells[at]) for at in self._nameless if at < len(cells) and cells[at].strip()
        ]
        message, faults = message_of({**self._constants, **said})
        torn = any("\n" in said.get(fault.path, "") for fault in faults)
        return Cells(None if torn else message, [*strange, *faults])


def layout(
    head: Sequence[str],
    delimiter: str,
    *,
    mapping: Mapping[str, str],
    constants: Mapping[str, str],
    needed: Sequence[str] = REQUIRED,
) -> tuple[Layout, str]:
    """What the columns mean, and what separates them: the delimiter, or that under which most names are known.

    `head` are the first lines. Raises Invalid with every fault.
    """
    known = _PLAIN | {_plain(column): field for column, field in mapping.items()}
    choices = {each: names for each in delimiter or DELIMITERS if (names := _names(head, each))}
    if not choices:
        raise Invalid([Fault("header", "has no names that can be read; is a quotation mark left open?")])
    chosen = max(
        choices, key=lambda each: (sum(_plain(name) in known for name in choices[each]), len(choices[each]))
    )
    names = choices[chosen]
    fields = tuple(known.get(_plain(name), "") if name else "" for name in names)
    faults = chain(
        _unknown(names, known), _absent(names, mapping), _twice(fields), _missing(fields, constants, needed)
    )
    if listed := limit_faults(faults):
        raise Invalid(listed)
    return Layout(names, fields, constants), chosen


def field_of(name: str) -> str:
    """The field a person means, by its name or an alias; empty for none."""
    return _PLAIN.get(_plain(name), "")


def message_of(said: Mapping[str, str]) -> Cells:
    """What texts say, by the names of their fields."""
    message: dict[str, Any] = {field: value for field, value in said.items() if field not in INFO}
    info = {field: said[field] for field in INFO if field in said}
    if info:
        message["relationinfo"] = info
    if "action" in said:
        message["action"] = said["action"].lower()
    faults = list[Fault]()
    for side in ("parentid", "childid"):
        text = message.pop(side, "")
        if wrong := list(_wrong(text, side)):
            faults += wrong
        elif text:
            message[side] = int(text) if _is_id(text) else list(map(int, _words(text)))
    return Cells(message, faults)


def faults_of(said: Mapping[str, str]) -> list[Fault]:
    """What is wrong with each of these texts by itself, whatever a line may add."""
    message, faults = message_of(said)
    missing = [Fault(side, "is required") for side in ("parentid", "childid") if said.get(side) == ""]
    return [*faults, *missing, *find_faults(message, incomplete=True)]


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]", "", name).lower()


_PLAIN: Final[dict[str, str]] = {_plain(field): field for field in FIELDS} | {
    alias: field for field, aliases in ALIASES.items() for alias in aliases
}


# --- the header


def _names(head: Sequence[str], delimiter: str) -> tuple[str, ...]:
    """The names in the first record, which may have line breaks in them; nothing if this delimiter cannot read it."""
    names = list[str]()
    with suppress(csv.Error):
        names = [name.strip() for name in next(csv.reader(head, delimiter=delimiter, strict=True), [])]
    return tuple(names) if any(names) else ()


def _unknown(names: Sequence[str], known: Mapping[str, str]) -> Iterator[Fault]:
    words = 'column "{0}" is not known{1}; name its field with --map "{0}=FIELD", or leave it out with --map "{0}="'
    for name in names:
        if name and _plain(name) not in known:
            yield Fault("header", words.format(_shown(name), suggest(name, FIELDS)))


def _absent(names: Sequence[str], mapping: Mapping[str, str]) -> Iterator[Fault]:
    """To leave out what is not there does no harm."""
    there = {_plain(name): _shown(name) for name in names if name}
    for column, field in mapping.items():
        if field and _plain(column) not in there:
            listed = ", ".join(islice(there.values(), SHOWN))
            yield Fault("header", f"there is no column {quote(column)}, as --map says; there are {listed}")


def _twice(fields: Sequence[str]) -> Iterator[Fault]:
    return (
        Fault("header", f"{field} stands in several columns") for field in FIELDS if fields.count(field) > 1
    )


def _missing(fields: Sequence[str], constants: Mapping[str, str], needed: Sequence[str]) -> Iterator[Fault]:
    for field in needed:
        if field not in fields and field not in constants:
            value = "with --account NAME" if field == "account" else f"with --set {field}=VALUE"
            yield Fault(
                "header", f"no column for {field}; name one with --map COLUMN={field}, or the value {value}"
            )


def _shown(name: str) -> str:
    """A column's name as it can be given to --map, where blanks and line breaks do not count."""
    words = escape_unprintable(" ".join(name.split()))
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}…"


# --- the cells


def _stranger(number: int, cell: str) -> Fault:
    return Fault("", f"column {number} has no name in the header, but this line says {quote(cell)} in it")


def _wrong(text: str, side: str) -> Iterator[Fault]:
    """What keeps a cell from being ids: every word that is none."""
    if not text or _is_id(text):  # nearly always
        return
    if THOUSANDS.fullmatch(text):
        hint = re.sub("[^0-9]", "", text)[:LONGEST]
        several = "; separate several ids by blanks" if "," in text else ""
        yield Fault(
            side,
            f"expected an id, got {quote(text)}: write a number without thousands separators, {hint}{several}",
        )
        return
    if "\n" in text and re.search(r"[,;|\t]", text):  # ids they may be, but more likely the next line's cells
        yield Fault(side, f"expected ids, got several lines, {quote(text)}")
        return
    for word in _words(text):
        if not _is_id(word):
            yield Fault(side, f"expected an id, a positive whole number, got {quote(word)}")


def _is_id(word: str) -> bool:
    return word.isdecimal() and word.isascii() and len(word) <= LONGEST


def _words(text: str) -> list[str]:
    """Ids stand between blanks, commas, semicolons or bars."""
    return re.split(r"[\s,;|]+", text)
