"""A search into the parameters of a read, and the answer's data into the records that it found.

Sources: the documentation pages "Read Estates" and "Read Addresses". An answer that cannot be read is an
error here and never an empty one: nobody may take a record for missing that was not looked for.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from worker.onoffice.php import as_items, as_number, as_object
from worker.planner.actions import MAX_VALUES, FoundRecord, Search

_CONTACT: Final = re.compile(r"((?:default)?(?:phone|mobile|fax|email))[A-Za-z]*")
_MAIN_ENTRY: Final = {"Email": "email", "Telefon1": "phone"}  # is one of the entries of the other field, too


class Unreadable(ValueError):
    """The answer to a search is none; the text says what is wrong with it, and quotes nothing of it."""


def parameters(search: Search, claim: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of a search and the claim, in the order of their names."""
    return {
        "data": search.data,
        **claim,
        "filter": {search.field: [{"op": "in", "val": search.values}]},
        "listlimit": MAX_VALUES,
        "listoffset": search.offset,
    }


def read_records(search: Search, data: Any) -> tuple[tuple[FoundRecord, ...], int]:
    """Return the records that a search found, each once, and how many there are in all, as far as is known.

    Raises `Unreadable`.
    """
    rows = as_object(data).get("records")
    if not isinstance(rows, list | dict):
        raise Unreadable("the answer has no list of records")
    found = _merge(search, as_items(rows))
    count = as_object(as_object(data).get("meta")).get("cntabsolute")
    if count is None:  # as some answers have it; then there is more behind a full page
        return found, search.offset + len(found) + (len(rows) >= MAX_VALUES)
    total = as_number(count)
    if total is None:
        raise Unreadable("the answer does not say how many records there are")
    if not found and total > search.offset:
        raise Unreadable("the answer counts records and shows none")
    repeated = len(rows) - len(found)
    return found, max(total - repeated, search.offset + len(found)) if found else total


def _merge(search: Search, rows: list[Any]) -> tuple[FoundRecord, ...]:
    """Return the records; one that is there for each of its entries is one record with all of them."""
    found: dict[int, dict[str, dict[str, None]]] = {}
    for row in rows:
        values = found.setdefault(_read_id(search, row), {field: {} for field in search.data})
        for field, text in _read_values(row, values):
            values[field][text] = None
    return tuple(
        FoundRecord(number, {field: tuple(texts) for field, texts in values.items()})
        for number, values in found.items()
    )


def _read_id(search: Search, row: Any) -> int:
    record = as_object(row)
    number = as_number(record.get("id"))
    if not number or (record.get("type") or search.module) != search.module:
        raise Unreadable("the answer has a record without a readable id")
    return number


def _read_values(row: Mapping[str, Any], asked: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the fields that were asked for, with each of their values."""
    elements = row.get("elements")
    if not isinstance(elements, dict) and elements != []:
        raise Unreadable("the answer has a record without readable fields")
    for key, value in as_object(elements).items():
        for field in _fields_of(key, asked):
            yield from ((field, text) for text in _texts(value))


def _fields_of(key: str, asked: Mapping[str, object]) -> Iterator[str]:
    """Yield the fields that a key is an entry of.

    The entries of a contact field are `email__13027`, or `emailbusiness__13027` with their type; the comment
    `email__13027__Comment` is none.
    """
    name, _, entry = key.rpartition("__")
    if key in asked or not (entry.isascii() and entry.isdigit()):
        name = key
    elif name not in asked and (contact := _CONTACT.fullmatch(name)):
        name = contact[1]
    yield from (field for field in (name, _MAIN_ENTRY.get(name, "")) if field in asked)


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a value or of a list of values; null and an empty text are none."""
    for item in as_items(value) if isinstance(value, list | dict) else (value,):
        if isinstance(item, list | dict):
            raise Unreadable("the answer has a field that is neither a text nor a number")
        if item not in (None, ""):
            yield _text(item)


def _text(value: str | float) -> str:
    if isinstance(value, bool):  # as PHP's databases write it
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
