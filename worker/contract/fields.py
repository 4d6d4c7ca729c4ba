"""The fields of a message in one table: it gives the JSON Schema, and the faults of a refused message.

A message that is accepted does not pass through here: the typed decoder of `message`, with the same bounds,
takes 1.4 µs for it, this table 10 µs. No library does both better. `jsonschema` takes 220 µs to explain one
message and says "is not valid under any of the given schemas" of an id. pydantic decodes 1.5 times slower
than msgspec, and names the branches of a union in its paths. The schema that msgspec derives from the
decoder's types lacks relation types and the rules between fields, and has patterns (`\\A`, `\\Z`) that only
Python reads.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, get_args

from worker.contract import instant, message
from worker.contract.catalogue import INFO
from worker.contract.message import explain_account_name
from worker.contract.quoting import quote, suggest
from worker.contract.reference import (
    EXPECTED,
    Reference,
    find_reference_faults,
    is_short_form,
    read_reference,
)
from worker.contract.types import TYPES, ChangeAction, RelationType, ResolvedType, resolve
from worker.contract.values import WrittenNumber, is_list_with_gaps, path_of, to_plain_message
from worker.contract.wrapped import find_wrapped, is_encoded
from worker.errors import Fault, NotFound

Schema = dict[str, Any]

N_TO_N = "parentid and childid both name several records; a change is 1:n, so send one change per parent"
MISPLACED_ALLOW_EMPTY = "is for a delete or a replace only: that may then take the last relation of a record"
NO_RECORDS = f"expected 1 to {message.MAX_IDS} ids, got 0"
ACTIONS: tuple[str, ...] = get_args(ChangeAction)
ENCODED_HINT = ", which is JSON in a text; it was encoded twice, send it as JSON itself"
GAPS_HINT = " whose names are numbers, as PHP writes a list with gaps; send array_values($list)"
TEXT_OF_DIGITS = "; send a number, not text"
TEXT_OF_NUMBERS = "; send numbers, not text: 501, or [501, 502] for several"
NUMBERS = re.compile(r"[\[({]*[0-9][0-9.,;| ]*[\])}]*")  # as tools join several, or write a list as text
NOT_A_REFERENCE = f"; to look it up, send {EXPECTED}"
SPELLINGS = (*TYPES, *(known.urn for known in TYPES.values()))


class Field(NamedTuple):
    """A field: its description, its schema, and what yields the faults of a value that stands at a path."""

    description: str
    schema: Schema
    find_faults: Callable[[object, str], Iterator[Fault]]
    required: bool = False


def find_faults(obj: object, *, incomplete: bool = False) -> Iterator[Fault]:
    """Yield every fault of one message, which may be anything at all.

    Unknown fields come first, then field by field, then what does not go together. An incomplete message is
    one to which fields will be added: nothing is missing yet.
    """
    obj = to_plain_message(obj)
    if not isinstance(obj, dict) or is_list_with_gaps(obj):
        yield Fault("", f"expected a change (an object), got {quote(obj)}{_hint_at_shape(obj)}")
        return
    if wrapped := find_wrapped(obj):
        yield wrapped
        return
    for key in obj:
        if key not in FIELDS:
            yield Fault(path_of(key), f"unknown field{suggest(key, tuple(FIELDS))}")
    for name, field in FIELDS.items():
        value = obj.get(name)
        if value is not None or (field.required and name in obj):
            yield from field.find_faults(value, name)
        elif field.required and not incomplete:
            yield Fault(name, "is required")
    yield from _find_faults_of_sides(obj)
    info = obj.get("relationinfo")
    if not incomplete and (info is None or isinstance(info, dict)):
        found = _resolve(obj.get("relationtype"))
        reason = misplaced_info(obj.get("action"), info or (), found.type if found else None)
        yield from [Fault("relationinfo", reason)] if reason else []
    if obj.get("allow_empty") is True and obj.get("action") in ("create", "modify"):
        yield Fault("allow_empty", MISPLACED_ALLOW_EMPTY)


def _hint_at_shape(obj: object) -> str:
    """Return what to send in place of what is no object."""
    if isinstance(obj, dict):
        return GAPS_HINT
    if isinstance(obj, list):
        return "; send one array of changes, without another around it"
    return ENCODED_HINT if is_encoded(obj) else ""


def _find_faults_of_sides(obj: Mapping[str, object]) -> Iterator[Fault]:
    """Yield what is wrong with the records of both sides taken together."""
    if _count_records(obj.get("parentid")) > 1 and _count_records(obj.get("childid")) > 1:
        yield Fault("childid", N_TO_N)
    yield from _find_strange_references(obj)
    may_be_empty = obj.get("action") == "replace" and obj.get("allow_empty") is True
    for side, other in (("parentid", "childid"), ("childid", "parentid")):
        if obj.get(side) in ([], ()) and not (may_be_empty and obj.get(other) not in ([], ())):
            yield Fault(side, f"{NO_RECORDS}; a replace may empty a record, with allow_empty")


def misplaced_info(action: object, keys: Collection[object], relation_type: RelationType | None) -> str:
    """Return why this action may not come with, or without, these keys of relationinfo; "" if it may.

    A modify may carry them for any type: whether the type can be modified at all is the operator's policy.
    """
    if action == "modify":
        return "" if keys else "is required for modify: it says what to change"
    if not keys:
        return ""
    if action in ("delete", "replace"):
        return f"a {action} takes no relationinfo"
    if relation_type is None or relation_type.info_keys:
        return ""
    return f"{relation_type.name} takes no relationinfo"


def _count_records(value: object) -> int:
    """Return how many different records a side names, of those that can be read."""
    if not isinstance(value, list | tuple):
        return 1
    return len({item for item in value[: message.MAX_IDS] if type(item) is int} | {*_references_of(value)})


def _references_of(value: object) -> list[Reference]:
    found = []
    for item in value[: message.MAX_IDS] if isinstance(value, list | tuple) else [value]:
        with suppress(ValueError):
            found.append(read_reference(item))
    return found


def _find_strange_references(obj: Mapping[str, object]) -> Iterator[Fault]:
    """Yield references to records of another module than the relation type has on that side."""
    found = _resolve(spelling := obj.get("relationtype"))
    if found is None:
        return
    modules = (
        (found.type.child, found.type.parent) if found.swapped else (found.type.parent, found.type.child)
    )
    for side, module in zip(("parentid", "childid"), modules, strict=True):
        for reference in _references_of(obj.get(side)):
            if reference.module != module:
                yield Fault(side, f"is a record of {module}, not of {reference.module}, by {spelling}")


def _resolve(value: object) -> ResolvedType | None:
    try:
        return resolve(value) if isinstance(value, str) else None
    except NotFound:
        return None


# --- what is wrong with a value


def _account(value: object, path: str) -> Iterator[Fault]:
    if reason := explain_account_name(value):
        yield Fault(path, reason)


def _choice(value: object, path: str, *, choices: tuple[str, ...]) -> Iterator[Fault]:
    if value not in choices:
        hint = suggest(value, choices)
        yield Fault(path, f"expected one of {', '.join(choices)}, got {quote(value)}{hint}")


def _relation_type(value: object, path: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield Fault(path, f"expected the name of a relation type, got {quote(value)}")
        return
    try:
        resolve(value)
    except NotFound as error:
        yield Fault(path, str(error))


def _ids(value: object, path: str) -> Iterator[Fault]:
    if not isinstance(value, list | tuple):
        yield from _id(value, path, "a positive integer or an array of them")
        return
    if len(value) > message.MAX_IDS:
        yield Fault(path, f"expected 1 to {message.MAX_IDS} ids, got {len(value)}")
    for index, item in enumerate(value[: message.MAX_IDS]):  # of millions, too many is all that is said
        yield from _id(item, f"{path}[{index}]", "a positive integer")


def _id(value: object, path: str, wanted: str) -> Iterator[Fault]:
    if isinstance(value, dict) or (isinstance(value, str) and is_short_form(value)):
        yield from find_reference_faults(value, path)
    elif type(value) is not int or value < 1:
        yield Fault(path, f"expected {wanted}, got {quote(value)}{_hint_at_number(value)}")
    elif value > message.MAX_ID:
        yield Fault(path, f"expected an integer below 2**53, got {quote(value)}")


def _hint_at_number(value: object) -> str:
    if isinstance(value, str):
        if value.isdecimal():
            return TEXT_OF_DIGITS
        return TEXT_OF_NUMBERS if NUMBERS.fullmatch(value) else NOT_A_REFERENCE
    has_exponent = isinstance(value, WrittenNumber) and "e" in value.text.lower()
    return "; write all its digits, without an exponent" if has_exponent else ""


def _info(value: object, path: str) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault(path, f"expected an object with {' or '.join(INFO)}, got {quote(value)}")
        return
    for key, text in value.items():
        if isinstance(key, str) and key in INFO:
            yield from _choice(text, path_of(key, path), choices=INFO[key])
        else:
            yield Fault(path_of(key, path), f"unknown key{suggest(key, tuple(INFO))}")


def _instant(value: object, path: str) -> Iterator[Fault]:
    try:
        instant.read_instant(value if isinstance(value, str) else "")
    except ValueError as error:
        yield Fault(path, f"{error}, got {quote(value)}")


def _text(value: object, path: str, *, longest: int) -> Iterator[Fault]:
    too_long = isinstance(value, str) and len(value) > longest
    if too_long or not (isinstance(value, str) and re.fullmatch(message.PRINTABLE, value)):
        got = f"{len(value)} characters" if isinstance(value, str) and too_long else quote(value)
        yield Fault(path, f"expected a text of 1 to {longest} printable characters, got {got}")


def _flag(value: object, path: str) -> Iterator[Fault]:
    if not isinstance(value, bool):
        yield Fault(path, f"expected true or false, got {quote(value)}")


def _version(value: object, path: str) -> Iterator[Fault]:
    if type(value) is not int or value != 1:
        yield Fault(path, f"expected 1, got {quote(value)}")


# --- the table


def _text_field(description: str, longest: int, **more: str) -> Field:
    schema = {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": longest,
        "pattern": f"^[^{message.CONTROLS}]+$",
        **more,
    }
    return Field(description, schema, partial(_text, longest=longest))


FIELDS: Mapping[str, Field] = {
    "account": Field(
        "The onOffice account.",
        {"type": "string", "pattern": f"^{message.ACCOUNT}$"},
        _account,
        required=True,
    ),
    "action": Field(
        "What to do.",
        {"type": "string", "enum": list(ACTIONS)},
        partial(_choice, choices=ACTIONS),
        required=True,
    ),
    "relationtype": Field(
        "The relation type, by short name or URN.",
        {"type": "string", "enum": list(SPELLINGS)},
        _relation_type,
        required=True,
    ),
    "parentid": Field(
        "The parent record, or several; then the child is one. By id, or by a reference.",
        {"$ref": "#/$defs/ids"},
        _ids,
        required=True,
    ),
    "childid": Field(
        "The child record, or several; then the parent is one. By id, or by a reference.",
        {"$ref": "#/$defs/ids"},
        _ids,
        required=True,
    ),
    "relationinfo": Field(
        "The state of an address in an appointment (calendar:address).",
        {
            "type": ["object", "null"],
            "properties": {key: {"type": "string", "enum": list(values)} for key, values in INFO.items()},
            "additionalProperties": False,
        },
        _info,
    ),
    "occurred_at": Field(
        "When it became true, with offset (RFC 3339); defaults to acceptance.",
        # Without `format`: a `date-time` has seconds, a T and a colon, which strict readers insist on.
        {"type": ["string", "null"], "pattern": f"^{instant.PATTERN}$"},
        _instant,
    ),
    "event_id": _text_field("The producer's own key, unique per account and source.", message.MAX_EVENT_ID),
    "source": _text_field("Who sends it.", message.MAX_LABEL, default=message.SOURCE),
    "batch": _text_field("A label to ask for later.", message.MAX_LABEL),
    "allow_empty": Field(
        "Whether a delete or a replace may take the last relation of a record that is otherwise to keep one.",
        {"type": ["boolean", "null"], "default": False},
        _flag,
    ),
    "version": Field(
        "The version of this message.", {"type": ["integer", "null"], "minimum": 1, "maximum": 1}, _version
    ),
}
