"""Bytes or decoded objects in, changes out: a typed decoder accepts, and `fields` explains what it refuses.

Raises nothing but `InvalidChange`, whatever comes in. Whether an account may do what a change asks for is
decided in `change`.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from itertools import islice
from typing import TypeVar

import msgspec

from worker.contract.catalogue import INFO
from worker.contract.change import Change, Info
from worker.contract.fields import MISPLACED_ALLOW_EMPTY, N_TO_N, NO_RECORDS, find_faults, misplaced_info
from worker.contract.instant import read_instant
from worker.contract.message import MAX_BODY, SOURCE, Message, Records
from worker.contract.reference import Reference, read_reference
from worker.contract.types import EXACT, GuardedSide, RelationType, resolve
from worker.contract.values import (
    explain_broken_json,
    has_repeated_names,
    is_kept_whole,
    read_json,
    to_plain_message,
)
from worker.errors import Fault, InvalidChange, NotFound, Place

MAX_FAULTS = 100  # listed at once; a sender with more of them made one mistake many times

Item = TypeVar("Item")
Result = TypeVar("Result")


def limit_faults(faults: Iterable[Fault]) -> list[Fault]:
    """Return the first `MAX_FAULTS`, and a note if there are more."""
    found = list(islice(faults, MAX_FAULTS + 1))
    if len(found) > MAX_FAULTS:
        found[MAX_FAULTS] = Fault("", f"only the first {MAX_FAULTS} faults are listed")
    return found


def check_each(
    items: Iterable[tuple[Place, Item]], check: Callable[[Item], Result], *, limited: bool = False
) -> list[Result]:
    """Return what `check` returns for every item, or raise one InvalidChange with the faults of all.

    Each fault is at the place of its item. If limited, items behind more than `MAX_FAULTS` faults are
    skipped.
    """
    results: list[Result] = []
    faults: list[Fault] = []
    for place, item in items:
        try:
            results.append(check(item))
        except InvalidChange as error:
            faults += error.at(place).faults
        if limited and len(faults) > MAX_FAULTS:
            break
    if faults:
        raise InvalidChange(limit_faults(faults) if limited else faults)
    return results


class ParsedChange(msgspec.Struct, frozen=True, gc=False):
    """A change, and notes on what was corrected in its message."""

    change: Change
    notes: tuple[str, ...] = ()


LINE_DECODER = msgspec.json.Decoder(Message)
ARRAY_DECODER = msgspec.json.Decoder(list[Message])
SPACE = re.compile(rb"[ \t\r\n]*")
SEPARATOR = re.compile(r"[ \t\r\n,]*")  # what stands before an item of an array, or before its bracket
find_end = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode  # of an item of an array

PLAIN = frozenset((int, str, bool, type(None), list, tuple))  # of these nothing has to be made JSON's own

# What decoding and converting raise; UnicodeError (a lone surrogate) is a ValueError.
REFUSALS = (msgspec.MsgspecError, NotFound, ValueError, RecursionError)
TOO_DEEP = "expected a change, got JSON that is nested too deeply"


def parse_many(data: bytes | str) -> list[ParsedChange]:
    """Return the changes of a JSON object, an array of objects, or NDJSON; all of them or none.

    Raises InvalidChange with faults such as `[3].childid[2]` in an array, counting from 0, and `line
    4.childid[2]` in NDJSON, counting from 1.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data  # refused by the decoder
    if len(raw) > MAX_BODY:
        raise InvalidChange([Fault("", f"expected at most {MAX_BODY} bytes, got {len(raw)}")])
    first = _first_byte(raw)
    if not first:
        wanted = "a change, an array of changes, or one change per line"
        raise InvalidChange([Fault("", f"expected {wanted}; got nothing")])
    try:
        messages = ARRAY_DECODER.decode(raw) if first == b"[" else LINE_DECODER.decode_lines(raw)
        if is_kept_whole(raw, messages) or not has_repeated_names(raw):
            return [_to_change(message) for message in messages]
    except REFUSALS:
        pass
    return _parse_one_by_one(raw)


def from_message(obj: object, place: Place | None = None) -> ParsedChange:
    """Return the change of one decoded message; raise InvalidChange with its faults, at this place."""
    if not (isinstance(obj, dict) and PLAIN.issuperset(map(type, obj.values()))):
        # msgspec takes texts of other types for texts, and leaves them as they are
        obj = to_plain_message(obj)
    try:
        return _to_change(msgspec.convert(obj, Message))
    except REFUSALS:
        obj = to_plain_message(obj)
    try:
        return _to_change(msgspec.convert(obj, Message))
    except REFUSALS as error:
        faults = limit_faults(find_faults(obj)) or [Fault("", str(error))]
        raise InvalidChange(faults).at(place) from None


def places_of(body: bytes, count: int) -> Sequence[Place | None]:
    """Return the places of the `count` changes that `parse_many` found, as they would be in its faults."""
    if _first_byte(body) == b"[":
        return range(count)
    return [None] if count == 1 else [place for place, _ in _lines(body)]


def _to_change(message: Message) -> ParsedChange:
    relation_type, swapped, notes = EXACT.get(message.relationtype) or resolve(message.relationtype)
    parents, children = _distinct(message.parentid), _distinct(message.childid)
    if len(parents) > 1 and len(children) > 1:
        raise ValueError(N_TO_N)
    first, second = (children, parents) if swapped else (parents, children)
    parent_ids, parent_references = _split(first, relation_type.parent)
    child_ids, child_references = _split(second, relation_type.child)
    replaces = _replaced_side(message, len(parents), swapped) if message.action == "replace" else ""
    if not (parents and children) and not (replaces and message.allow_empty and (parents or children)):
        raise ValueError(NO_RECORDS)
    if message.allow_empty and message.action not in ("delete", "replace"):
        raise ValueError(MISPLACED_ALLOW_EMPTY)
    change = Change(
        account=message.account,
        action=message.action,
        type=relation_type.name,
        parents=parent_ids,
        children=child_ids,
        info=_to_info(message, relation_type) if message.relationinfo or message.action == "modify" else (),
        occurred_at=None if message.occurred_at is None else read_instant(message.occurred_at),
        event_id=message.event_id,
        source=message.source or SOURCE,
        batch=message.batch or "",
        allow_empty=bool(message.allow_empty),
        parent_references=parent_references,
        child_references=child_references,
        replaces=replaces,
    )
    return ParsedChange(change, notes)


def _replaced_side(message: Message, different_parents: int, swapped: bool) -> GuardedSide:
    """Return which side of a replace is the whole set: the list; of two, that of several or of none."""
    parents, children = message.parentid, message.childid
    if () in (parents, children):
        is_parent = parents == ()
    elif isinstance(parents, tuple) and isinstance(children, tuple):
        is_parent = different_parents > 1
    else:
        is_parent = isinstance(parents, tuple)
    return "parent" if is_parent is not swapped else "child"


def _distinct(records: Records) -> tuple[int | Reference, ...]:
    if isinstance(records, int):  # nearly always
        return (records,)
    listed = records if isinstance(records, tuple) else (records,)
    return tuple(dict.fromkeys([each if isinstance(each, int) else read_reference(each) for each in listed]))


def _split(
    records: tuple[int | Reference, ...], module: str
) -> tuple[tuple[int, ...], tuple[Reference, ...]]:
    """Return the ids of records, and the references to the others, which are of this module."""
    references = tuple([each for each in records if not isinstance(each, int)])
    if not references:
        return records, ()  # type: ignore[return-value]
    if any(reference.module != module for reference in references):
        raise ValueError("a reference is of another module than the record that the relation type has there")
    return tuple(each for each in records if isinstance(each, int)), references


def _to_info(message: Message, relation_type: RelationType) -> Info:
    info = message.relationinfo or {}
    if reason := misplaced_info(message.action, info, relation_type):
        raise ValueError(reason)
    if any(value not in INFO.get(key, ()) for key, value in info.items()):
        raise ValueError("relationinfo has an unknown key or value")
    return tuple(sorted(info.items()))


def _first_byte(raw: bytes) -> bytes:
    space = SPACE.match(raw)
    start = space.end() if space else 0
    return raw[start : start + 1]


# --- what the decoder refused


def _parse_one_by_one(raw: bytes) -> list[ParsedChange]:
    """Return the changes after all, or raise InvalidChange with the faults of all messages."""
    first_two = list(islice(_lines(raw), 2))
    if len(first_two) > 1 and _is_object(first_two[0][1]):
        return check_each(_lines(raw), _parse_one, limited=True)
    if _first_byte(raw) == b"[":
        return check_each(_items(raw), _parse_one, limited=True)
    return [_parse_one(raw)]


def _parse_one(raw: bytes) -> ParsedChange:
    return from_message(_decode(raw, read_json))


def _decode(raw: bytes, read: Callable[[bytes], object]) -> object:
    try:
        return read(raw)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InvalidChange([Fault("", explain_broken_json(raw, error))]) from None
    except RecursionError:
        raise InvalidChange([Fault("", TOO_DEEP)]) from None


def _items(raw: bytes) -> Iterator[tuple[Place, bytes]]:
    """Yield the items of an array one by one: millions of them would not fit into memory as objects."""
    _decode(raw, partial(msgspec.json.decode, type=msgspec.Raw))  # checks the whole, and builds nothing
    try:
        text = raw.decode()
    except UnicodeError as error:
        raise InvalidChange([Fault("", explain_broken_json(raw, error))]) from None
    position, start = 0, _skip(text, text.index("[") + 1)
    while text[start] != "]":
        try:
            _, end = find_end(text, start)
        except (ValueError, RecursionError):
            raise InvalidChange([Fault("", TOO_DEEP, position)]) from None
        yield position, text[start:end].encode()
        position, start = position + 1, _skip(text, end)


def _skip(text: str, start: int) -> int:
    separator = SEPARATOR.match(text, start)
    return separator.end() if separator else start


def _lines(raw: bytes) -> Iterator[tuple[Place, bytes]]:
    """Yield the lines that are not blank one by one: a body may be nothing but millions of short lines."""
    for number, line in enumerate(BytesIO(raw), start=1):
        if line.strip():
            yield f"line {number}", line


def _is_object(line: bytes) -> bool:
    return line.lstrip().startswith(b"{") and line.rstrip().endswith(b"}")
