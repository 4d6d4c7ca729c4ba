"""Everything wrong with a message that was refused, each by its path; knows nothing of accepting.

The order of the faults is: unknown fields, the fields one by one, then what does not go together.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import get_args

from worker.contract import field_rules, message
from worker.contract.catalogue import INFO
from worker.contract.instant import read_instant
from worker.contract.quoting import did_you_mean, show
from worker.contract.types import RelationType, Verb, resolve
from worker.errors import Fault, NotFound

MAX_FAULTS = 100  # listed at once; whoever has more has one mistake many times

Checker = Callable[[object, str], Iterator[Fault]]
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def capped(faults: Iterator[Fault]) -> list[Fault]:
    """The first `MAX_FAULTS`, and a word about the rest if there are more."""
    listed = list(islice(faults, MAX_FAULTS))
    return (
        [*listed, Fault("", f"only the first {MAX_FAULTS} faults are listed")]
        if next(faults, None)
        else listed
    )


def explain(obj: object, path: str = "") -> Iterator[Fault]:
    """Every fault of one message, which may be anything at all."""
    if not isinstance(obj, dict):
        yield Fault(path, f"expected a change (an object), got {show(obj)}")
        return
    yield from (_unknown(key, path) for key in obj if key not in _FIELDS)
    for name in _FIELDS:
        yield from _field(obj, name, join(path, name))
    yield from _together(obj, path)


def join(path: str, key: object) -> str:
    """The path of a key inside what is at `path`."""
    if not (isinstance(key, str) and _PLAIN_KEY.fullmatch(key)):
        return f"{path}[{show(key)}]"
    return f"{path}.{key}" if path else key


def _unknown(key: object, path: str) -> Fault:
    return Fault(join(path, key), f"unknown field{did_you_mean(key, tuple(_FIELDS))}")


def _field(obj: Mapping[object, object], name: str, at: str) -> Iterator[Fault]:
    value = obj.get(name)
    if value is not None or (name in REQUIRED and name in obj):
        yield from _FIELDS[name](value, at)
    elif name in REQUIRED:
        yield Fault(at, "is required")


def _together(obj: Mapping[object, object], path: str) -> Iterator[Fault]:
    if len(_distinct(obj.get("parentid"))) > 1 and len(_distinct(obj.get("childid"))) > 1:
        yield Fault(join(path, "childid"), field_rules.N_TO_N)
    info = obj.get("relationinfo")
    if info is None or isinstance(info, dict):
        misplaced = field_rules.info_misplaced(
            obj.get("action"), info or (), _type_or_none(obj.get("relationtype"))
        )
        yield from [Fault(join(path, "relationinfo"), misplaced)] if misplaced else []


def _distinct(ids: object) -> set[int]:
    return {item for item in ids if type(item) is int} if isinstance(ids, list | tuple) else set()


def _type_or_none(text: object) -> RelationType | None:
    try:
        return resolve(text).type if isinstance(text, str) else None
    except NotFound:
        return None


# One checker per field: what is wrong with a value that is there.


def _account(value: object, at: str) -> Iterator[Fault]:
    if not (isinstance(value, str) and re.fullmatch(message.ACCOUNT, value)):
        yield Fault(
            at,
            f"expected an account name (1 to 32 of a-z 0-9 _ -, a letter or digit first), got {show(value)}",
        )


def _action(value: object, at: str) -> Iterator[Fault]:
    if value not in get_args(Verb):
        yield Fault(at, field_rules.one_of(get_args(Verb), value))


def _relationtype(value: object, at: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield Fault(at, f"expected the name of a relation type, got {show(value)}")
        return
    try:
        resolve(value)
    except NotFound as error:
        yield Fault(at, str(error))


def _ids(value: object, at: str) -> Iterator[Fault]:
    if not isinstance(value, list | tuple):
        yield from _id(value, at, "a positive integer or an array of them")
        return
    if not 1 <= len(value) <= message.MAX_IDS:
        yield Fault(at, f"expected 1 to {message.MAX_IDS} ids, got {len(value)}")
    for index, item in enumerate(value):
        yield from _id(item, f"{at}[{index}]", "a positive integer")


def _id(value: object, at: str, wanted: str) -> Iterator[Fault]:
    if type(value) is not int or value < 1:
        hint = "; send a number, not text" if isinstance(value, str) and value.isdecimal() else ""
        yield Fault(at, f"expected {wanted}, got {show(value)}{hint}")
    elif value > message.MAX_ID:
        yield Fault(at, f"expected an integer below 2**53, got {show(value)}")


def _relationinfo(value: object, at: str) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault(at, f"expected an object with {' or '.join(INFO)}, got {show(value)}")
        return
    yield from (Fault(join(at, key), wrong) for key, wrong in field_rules.info_faults(value))


def _occurred_at(value: object, at: str) -> Iterator[Fault]:
    try:
        read_instant(value if isinstance(value, str) else "")
    except ValueError as error:
        yield Fault(at, f"{error}, got {show(value)}")


def _text(longest: int) -> Checker:
    def checker(value: object, at: str) -> Iterator[Fault]:
        if not (isinstance(value, str) and len(value) <= longest and re.fullmatch(message.PRINTABLE, value)):
            got = (
                f"{len(value)} characters" if isinstance(value, str) and len(value) > longest else show(value)
            )
            yield Fault(at, f"expected a text of 1 to {longest} printable characters, got {got}")

    return checker


def _version(value: object, at: str) -> Iterator[Fault]:
    if type(value) is not int or value != 1:
        yield Fault(at, f"expected 1, got {show(value)}")


REQUIRED = ("account", "action", "relationtype", "parentid", "childid")
_FIELDS: Mapping[str, Checker] = {
    "account": _account,
    "action": _action,
    "relationtype": _relationtype,
    "parentid": _ids,
    "childid": _ids,
    "relationinfo": _relationinfo,
    "occurred_at": _occurred_at,
    "event_id": _text(message.MAX_EVENT_ID),
    "source": _text(message.MAX_LABEL),
    "batch": _text(message.MAX_LABEL),
    "version": _version,
}
