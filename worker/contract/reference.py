"""A reference: a record named by what others know of it, to be looked up before a change is carried out.

`{"address": {"email": "x@example.test"}}`, or for one field the short form `address:email=x@example.test`.
Values are texts, whatever they look like: a number 00815 is not 815.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple, cast, get_args

from worker.contract.quoting import quote, suggest
from worker.contract.values import read_whole
from worker.errors import Fault

Module = Literal["estate", "address"]
MODULES: Final[tuple[Module, ...]] = get_args(Module)
"""The modules whose records the API finds by the values of their fields."""

MAX_FIELDS, MAX_VALUE = 5, 200
FIELD: Final = "[A-Za-z_][A-Za-z0-9_-]{0,63}"
SHORT_FORM: Final = f"({'|'.join(MODULES)}):{FIELD}=.*"
EXPECTED: Final = "a reference such as address:email=x@example.test"
E_MAIL_FIELDS: Final = frozenset({"email", "Email"})

_find_boundaries = re.compile(rf"\s*\|\s*|[\s,;]+(?=({'|'.join(MODULES)}):{FIELD}=)").finditer
_is_field = re.compile(FIELD).fullmatch
_is_short_form = re.compile(SHORT_FORM, re.DOTALL).fullmatch


class Reference(NamedTuple):
    """A record of a module that has all of these values; fields sorted by name."""

    module: Module
    fields: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Return the short form; several fields are joined, which is for people only."""
        return f"{self.module}:" + " & ".join(f"{name}={value}" for name, value in self.fields)

    @property
    def without_values(self) -> str:
        """The reference without its values, which may be of a person: `address by email`."""
        return f"{self.module} by {' and '.join(name for name, _ in self.fields)}"

    def as_object(self) -> dict[str, dict[str, str]]:
        """Return the form that a message has."""
        return {self.module: dict(self.fields)}


def is_short_form(text: str) -> bool:
    """Return whether a text is meant as a reference."""
    return _is_short_form(text) is not None


def split_records(text: str) -> list[str]:
    """Return the references of a text that may name several records, and what stands between them.

    A reference ends at a bar, or where another one begins, because a value may have blanks and commas.
    """
    pieces, start = list[str](), 0
    for boundary in _find_boundaries(text):
        pieces.append(text[start : boundary.start()])
        start = boundary.end()
    return [piece for each in (*pieces, text[start:]) if (piece := each.strip())]


def read_records(text: str) -> list[int | str]:
    """Return the ids and references that a text names, ids with commas between them.

    What is neither stays as it is, for the contract to refuse.
    """
    records = list[int | str]()
    for piece in split_records(text):
        words = [piece] if is_short_form(piece) else piece.split(",")
        records += [word if (number := read_whole(word.strip())) is None else number for word in words]
    return records


def read_reference(value: object) -> Reference:
    """Return the reference of a message; raise ValueError for anything else."""
    if faults := list(find_reference_faults(value, "")):
        raise ValueError(faults[0].message)
    [(module, given)] = cast("Mapping[Module, Mapping[str, object]]", _as_object(value)).items()
    return Reference(module, tuple(sorted((name, _normalise(name, text)) for name, text in given.items())))


def find_reference_faults(value: object, path: str) -> Iterator[Fault]:
    """Yield what is wrong with a reference at this path."""
    if isinstance(value, str) and not is_short_form(value):
        yield Fault(path, f"expected {EXPECTED}, got {quote(value)}")
        return
    named = _as_object(value)
    if len(named) != 1:
        yield Fault(path, f"expected one of {', '.join(MODULES)} with its fields, got {len(named)} names")
        return
    [(module, fields)] = named.items()
    if module not in MODULES:
        known = f"records of {', '.join(MODULES)} can be looked up, others are named by their ids"
        yield Fault(path, f"{known}; got {quote(module)}{suggest(module, MODULES)}")
    elif not isinstance(fields, Mapping) or not 1 <= len(fields) <= MAX_FIELDS:
        yield Fault(f"{path}.{module}", f"expected 1 to {MAX_FIELDS} fields with their values")
    else:
        for name, text in fields.items():
            yield from _find_field_faults(name, text, f"{path}.{module}")


def _find_field_faults(name: object, value: object, path: str) -> Iterator[Fault]:
    if not isinstance(name, str) or not _is_field(name):
        yield Fault(path, f"expected the name of a field, got {quote(name)}")
        return
    text = str(value).strip() if isinstance(value, str) or type(value) is int else ""
    if not text:
        yield Fault(f"{path}.{name}", f"expected a text to look for, got {quote(value)}")
    elif len(text) > MAX_VALUE or not text.isprintable():
        yield Fault(f"{path}.{name}", f"expected 1 to {MAX_VALUE} printable characters, got {quote(value)}")


def _as_object(value: object) -> Mapping[object, object]:
    if isinstance(value, str):
        module, _, field = value.partition(":")
        name, _, text = field.partition("=")
        return {module: {name: text}}
    return value if isinstance(value, Mapping) else {}


def _normalise(name: str, value: object) -> str:
    """Return a value as it is compared: e-mails without case, all others as they are."""
    text = str(value).strip()
    return text.lower() if name in E_MAIL_FIELDS else text
