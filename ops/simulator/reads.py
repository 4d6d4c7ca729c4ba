"""Reads of estates and addresses: from the parameters to the records that a read answers.

Sources: the documentation pages "Read Estates" and "Read Addresses". Of the operators of a filter it knows
equality, `in`, `like` and their opposites.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from ops.simulator.catalogue import ApiRefusal
from ops.simulator.crm import CONTACTS, Crm, Module
from ops.simulator.parameters import Parameters, is_digits
from ops.simulator.switches import Switches

Normalize = Callable[[str], str]
Test = Callable[[str], bool]
_GERMAN: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})


class Expression(NamedTuple):
    """One condition on a field: it holds if any of the field's texts passes, or, `negated`, if none does."""

    field: str
    test: Test
    negated: bool

    def holds(self, texts: Sequence[str]) -> bool:
        """Return whether it holds for a field of these texts; a field without any is empty."""
        return any(map(self.test, texts or ("",))) is not self.negated


def read_expression(field: str, given: Any, normalize: Normalize) -> Expression:
    """Return the condition; raise `ApiRefusal` 142 for an operator, 257 for a value that does not fit it."""
    operator = given.get("op") if isinstance(given, dict) else None
    if str(operator).lower() not in _OPERATORS:
        raise ApiRefusal(142, operator)
    make_test, negated = _OPERATORS[str(operator).lower()]
    return Expression(field, make_test(given.get("val"), normalize), negated)


def normalizer(switches: Switches) -> Normalize:
    """Return what is done to both sides before they are compared."""

    @cache  # the texts of one read, of which many are equal
    def normalize(text: str) -> str:
        if switches.umlauts == "ae":
            text = text.translate(_GERMAN)
        elif switches.umlauts == "a":
            text = _strip_accents(text.replace("ß", "s"))
        return text if switches.compare_case == "exact" else text.lower()

    return normalize


def _strip_accents(text: str) -> str:
    letters = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _equals(value: Any, normalize: Normalize) -> Test:
    expected = normalize(_read_text(value))
    return lambda text: normalize(text) == expected


def _is_one_of(value: Any, normalize: Normalize) -> Test:
    if not isinstance(value, list) or not value:
        raise ApiRefusal(257, f"expected an array, got {value!r}")
    expected = {normalize(_read_text(item)) for item in value}
    return lambda text: normalize(text) in expected


def _is_like(value: Any, normalize: Normalize) -> Test:
    pattern = re.compile(".*".join(map(re.escape, normalize(_read_text(value)).split("%"))), re.DOTALL)
    return lambda text: pattern.fullmatch(normalize(text)) is not None


def _read_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ApiRefusal(257, f"expected a text or a number, got {value!r}")
    return str(value)


_OPERATORS: Final[dict[str, tuple[Callable[[Any, Normalize], Test], bool]]] = {
    "=": (_equals, False),
    "is": (_equals, False),
    "!=": (_equals, True),
    "<>": (_equals, True),
    "in": (_is_one_of, False),
    "not in": (_is_one_of, True),
    "like": (_is_like, False),
    "not like": (_is_like, True),
}
"""What each operator of a filter tests, and whether it has to fail."""


DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 500  # records of one answer
_COMMENT: Final = "Kommentar"


class Query(NamedTuple):
    """What a read asks for; `ids` are the only records to look at, if any are named."""

    module: Module
    data: list[str]
    filter: list[Expression]
    ids: frozenset[int] | None
    sort: list[tuple[str, bool]]
    limit: int
    offset: int


def answer_read(
    module: Module, resourceid: str, given: Parameters, crm: Crm, switches: Switches
) -> dict[str, Any]:
    """Return the data of the answer: the records of the page, and how many there are in all."""
    query = _read_query(module, resourceid, given, crm, switches)
    found = _sort(list(_find(query, crm, switches)), query, crm, switches)
    page = found[query.offset : query.offset + query.limit]
    counts: dict[str, Any] = {
        "total": {"cntabsolute": len(found)},
        "null": {"cntabsolute": None},
        "missing": {},
    }
    return {
        "meta": counts[switches.count] or [],  # PHP cannot tell an empty object from an empty list
        "records": [_record(number, query, crm, switches) for number in page],
    }


def count_values(given: Parameters) -> int:
    """Return how many values a read's filter compares with, whatever was sent as a filter."""
    conditions = given.get("filter")
    lists = conditions.values() if isinstance(conditions, dict) else ()
    expressions = [expression for each in lists if isinstance(each, list) for expression in each]
    values = [expression.get("val") for expression in expressions if isinstance(expression, dict)]
    return sum(len(value) if isinstance(value, list) else 1 for value in values)


# --- the parameters


def _read_query(module: Module, resourceid: str, given: Parameters, crm: Crm, switches: Switches) -> Query:
    known = crm.fields.known(module)
    return Query(
        module,
        _read_data(given, known),
        [] if resourceid else _read_filter(given, known, switches),
        _read_ids(resourceid, given),
        _read_sort(given, known),
        _read_number(given, "listlimit", DEFAULT_LIMIT, range(1, MAX_LIMIT + 1)),
        _read_number(given, "listoffset", 0, range(2**31)),
    )


def _read_data(given: Parameters, known: frozenset[str]) -> list[str]:
    if "data" not in given:
        raise ApiRefusal(167, "data")
    fields = given["data"]
    if not isinstance(fields, list):
        raise ApiRefusal(74)
    for field in fields:
        _check_field(field, known)
    return fields


def _read_filter(given: Parameters, known: frozenset[str], switches: Switches) -> list[Expression]:
    conditions = given.get("filter") or {}  # PHP writes an empty object as []
    if not isinstance(conditions, dict):
        raise ApiRefusal(257, "expected an object")
    normalize, expressions = normalizer(switches), []
    for field, each in conditions.items():
        _check_field(field, known)
        if not isinstance(each, list):
            raise ApiRefusal(257, f"{field}: expected an array of conditions")
        expressions += [read_expression(field, expression, normalize) for expression in each]
    return expressions


def _check_field(field: object, known: frozenset[str]) -> None:
    if not isinstance(field, str):
        raise ApiRefusal(291)
    if field not in known:
        raise ApiRefusal(141, field)


def _read_ids(resourceid: str, given: Parameters) -> frozenset[int] | None:
    ids = [resourceid] if resourceid else given.get("recordids")
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(map(is_digits, ids)):
        raise ApiRefusal(185)
    return frozenset(map(int, ids))


def _read_sort(given: Parameters, known: frozenset[str]) -> list[tuple[str, bool]]:
    """Return the fields to sort by, each with whether it descends."""
    by = given.get("sortby") or {}
    orders = {by: given.get("sortorder", "ASC")} if isinstance(by, str) else by
    if not isinstance(orders, dict) or not orders.keys() <= known:
        raise ApiRefusal(212)
    return [(field, str(order).upper() == "DESC") for field, order in orders.items()]


def _read_number(given: Parameters, name: str, default: int, allowed: range) -> int:
    number = given.get(name, default)
    if type(number) is not int or number not in allowed:
        raise ApiRefusal(255, name)
    return number


# --- the records


def _find(query: Query, crm: Crm, switches: Switches) -> Iterator[int]:
    """Yield the records that match, but those that are missing, archived or not to be seen."""
    for number in _match(query, crm):
        record = (query.module, number)
        if not crm.records.exists(record):
            continue
        if record in crm.records.no_read:
            if switches.no_read == "refused":
                raise ApiRefusal(149) if query.module == "estate" else ApiRefusal(253, query.module)
        elif switches.archived == "included" or not crm.fields.is_archived(query.module, number):
            yield number


def _match(query: Query, crm: Crm) -> list[int]:
    module, texts = query.module, crm.fields.texts
    numbers = crm.fields.ids(module)
    if query.ids is not None:
        numbers = [number for number in numbers if number in query.ids]
    for expression in query.filter:
        field, holds = expression.field, expression.holds
        numbers = [number for number in numbers if holds(texts(module, number, field))]
    return numbers


def _sort(numbers: list[int], query: Query, crm: Crm, switches: Switches) -> list[int]:
    normalize = normalizer(switches)
    for field, descends in reversed(query.sort):
        keys = {
            number: list(map(normalize, crm.fields.texts(query.module, number, field))) for number in numbers
        }
        numbers = sorted(numbers, key=keys.__getitem__, reverse=descends)
    return numbers


def _record(number: int, query: Query, crm: Crm, switches: Switches) -> dict[str, Any]:
    shown = number if switches.record_ids == "number" else str(number)
    elements: dict[str, Any] = {"id": shown}
    for field in query.data:
        texts = crm.fields.texts(query.module, number, field)
        if query.module == "address" and field in CONTACTS:
            elements |= _contact(field, texts, number, switches)
        else:
            elements[field] = texts[0] if texts else ""
    return {"id": shown, "type": query.module, "elements": elements}


def _contact(field: str, texts: Sequence[str], number: int, switches: Switches) -> dict[str, Any]:
    """Return the entries of a contact field, each under the number of the entry, and its comment."""
    if switches.contact_values == "list":
        return {field: list(texts)}
    kind = "business" if switches.contact_values == "typed" else ""
    entries: dict[str, Any] = {}
    for place, text in enumerate(texts):
        key = f"{field}{kind}__{number}{place:02}"
        entries |= {key: text, f"{key}__Comment": _COMMENT}
    return entries
