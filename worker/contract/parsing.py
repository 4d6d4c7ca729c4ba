"""Bytes or decoded objects in, changes out: a typed decoder accepts, and only what it refuses is looked at again, slowly.

Raises nothing but `InvalidChange`, whatever comes in. Whether an account may do what it asks is `policy`.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import islice
from typing import Any, TypeVar

import msgspec

from worker.contract.catalogue import INFO
from worker.contract.change import Change, Info
from worker.contract.explain_faults import MAX_FAULTS, capped, explain
from worker.contract.field_rules import N_TO_N, info_misplaced
from worker.contract.instant import read_instant
from worker.contract.message import MAX_BODY, MAX_MESSAGE, SOURCE, Message
from worker.contract.types import RelationType, resolve
from worker.errors import Fault, InvalidChange, NotFound


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """A change, and what was corrected on the way to it."""

    change: Change
    notes: tuple[str, ...] = ()


Item = TypeVar("Item")

_ONE = msgspec.json.Decoder(Message)
_MANY = msgspec.json.Decoder(list[Message])
_SPACE = re.compile(rb"[ \t\r\n]*")
_AFTER = re.compile(r"[ \t\r\n,]*")  # an item of an array, or its bracket
_SCAN = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode  # finds the end of an item

# What decoding and resolving raise; UnicodeError (a lone surrogate) is a ValueError.
_REFUSED = (msgspec.MsgspecError, NotFound, ValueError, RecursionError)


def parse(data: bytes | str) -> Parsed:
    """The change of one JSON object."""
    raw = _bytes(data, MAX_MESSAGE)
    try:
        return _build(_ONE.decode(raw))
    except _REFUSED:
        return from_message(_decode(raw))


def parse_many(data: bytes | str) -> list[Parsed]:
    """The changes of a JSON object, an array of objects, or NDJSON; all of them or none.

    Faults are named `[3].childid[2]` in an array, `line 4.childid[2]` in NDJSON, counting from 0 and from 1.
    """
    raw = _bytes(data, MAX_BODY)
    first = _first_byte(raw)
    if not first:
        raise InvalidChange(
            [Fault("", "expected a change, an array of changes, or one change per line; got nothing")]
        )
    try:
        return [
            _build(message) for message in (_MANY.decode(raw) if first == b"[" else _ONE.decode_lines(raw))
        ]
    except _REFUSED:
        return _slowly(raw)


def from_message(obj: object, path: str = "") -> Parsed:
    """The change of one decoded message; `path` leads the paths of its faults."""
    try:
        return _build(msgspec.convert(obj, Message))
    except _REFUSED as error:
        raise InvalidChange(capped(explain(obj, path)) or [Fault(path, str(error))]) from None


def from_messages(obj: object) -> list[Parsed]:
    """The changes of one decoded message or an array of them; all or none."""
    if not isinstance(obj, list | tuple):
        return [from_message(obj)]
    return _all(((f"[{index}]", item) for index, item in enumerate(obj)), from_message)


def _build(message: Message) -> Parsed:
    relation_type, swapped, notes = resolve(message.relationtype)
    parents, children = _ids(message.parentid), _ids(message.childid)
    if len(parents) > 1 and len(children) > 1:
        raise ValueError(N_TO_N)
    change = Change(
        account=message.account,
        action=message.action,
        type=relation_type.name,
        parents=children if swapped else parents,
        children=parents if swapped else children,
        info=_info(message, relation_type),
        occurred_at=None if message.occurred_at is None else read_instant(message.occurred_at),
        event_id=message.event_id,
        source=message.source or SOURCE,
        batch=message.batch or "",
    )
    return Parsed(change, notes)


def _ids(ids: int | tuple[int, ...]) -> tuple[int, ...]:
    return (ids,) if isinstance(ids, int) else tuple(dict.fromkeys(ids))


def _info(message: Message, relation_type: RelationType) -> Info:
    info = message.relationinfo or {}
    if not info and message.action != "modify":  # nearly always
        return ()
    if misplaced := info_misplaced(message.action, info, relation_type):
        raise ValueError(misplaced)
    if any(value not in INFO.get(key, ()) for key, value in info.items()):
        raise ValueError("relationinfo has an unknown key or value")
    return tuple(sorted(info.items()))


def _bytes(data: bytes | str, longest: int) -> bytes:
    raw = (
        data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    )  # the decoder refuses a lone surrogate
    if len(raw) > longest:
        raise InvalidChange([Fault("", f"expected at most {longest} bytes, got {len(raw)}")])
    return raw


def _first_byte(raw: bytes) -> bytes:
    space = _SPACE.match(raw)
    start = space.end() if space else 0
    return raw[start : start + 1]


def _decode(raw: bytes, path: str = "", kind: Any = object) -> object:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise InvalidChange([Fault(path, f"expected JSON: {error}")]) from None
    except UnicodeError:
        raise InvalidChange([Fault(path, "expected JSON in UTF-8")]) from None
    except RecursionError:
        raise InvalidChange([Fault(path, "expected a change, got JSON that is nested too deeply")]) from None


def _slowly(raw: bytes) -> list[Parsed]:
    first = list(islice(_lines(raw), 2))
    if len(first) > 1 and _is_object(first[0][1]):
        return _all(_lines(raw), _from_line)
    if _first_byte(raw) == b"[":
        return _all(_items(raw), _from_line)
    return [from_message(_decode(raw))]


def _items(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The items of an array, one by one: what millions of them would take as objects is never there at once."""
    _decode(raw, kind=msgspec.Raw)  # looks at the whole, and builds nothing
    try:
        text, number = raw.decode(), 0
    except UnicodeError:
        raise InvalidChange([Fault("", "expected JSON in UTF-8")]) from None
    at = _AFTER.match(text, text.index("[") + 1).end()  # type: ignore[union-attr]
    while text[at] != "]":
        try:
            _, end = _SCAN(text, at)
        except (ValueError, RecursionError):
            raise InvalidChange(
                [Fault(f"[{number}]", "expected a change, got JSON that is nested too deeply")]
            ) from None
        yield f"[{number}]", text[at:end].encode()
        at, number = _AFTER.match(text, end).end(), number + 1  # type: ignore[union-attr]


def _lines(raw: bytes) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(
        BytesIO(raw), start=1
    ):  # one by one: a body may be nothing but millions of short lines
        if line.strip():
            yield f"line {number}", line


def _is_object(line: bytes) -> bool:
    return line.lstrip().startswith(b"{") and line.rstrip().endswith(b"}")


def _from_line(line: bytes, path: str) -> Parsed:
    return from_message(_decode(line, path), path)


def _all(items: Iterable[tuple[str, Item]], read: Callable[[Item, str], Parsed]) -> list[Parsed]:
    parsed: list[Parsed] = []
    faults: list[Fault] = []
    for path, item in items:
        try:
            parsed.append(read(item, path))
        except InvalidChange as error:
            faults += error.faults
        if len(faults) > MAX_FAULTS:
            break
    if faults:
        raise InvalidChange(capped(iter(faults)))
    return parsed
