"""Finds changes that stand inside of something else, as many clients send them: `{"changes": […]}`."""

from collections.abc import Mapping
from typing import Final

from worker.contract.message import Message
from worker.contract.values import path_of
from worker.errors import Fault

KNOWN: Final = frozenset(Message.__struct_fields__)
OWN: Final = frozenset(("action", "relationtype", "parentid", "childid"))  # fields that tell a change
SHARED: Final = OWN | {"account", "source", "batch"}  # what is said once for all where they are wrapped
LEVELS: Final = 4  # of objects and arrays that are looked into
ENCODED: Final = "holds JSON in a text, so it was encoded twice; send it as JSON itself"
ALONE: Final = "send that by itself: a change, an array of changes, or one change per line"


def find_wrapped(obj: Mapping[str, object]) -> Fault | None:
    """Return where an object holds changes in place of being one, and what to send; None if it does not."""
    if obj.keys() >= OWN:
        return None
    is_bare = obj.keys().isdisjoint(OWN)
    for name, value in obj.items():
        if name in KNOWN:
            continue
        if is_bare and is_encoded(value):
            return Fault(path_of(name), ENCODED)
        is_empty_list = isinstance(value, list) and not value
        path = path_of(name) if is_bare and is_empty_list else _find_changes(value, path_of(name), LEVELS)
        if path:
            beside = [field for field in obj if field in SHARED]
            each = f"; in each change name its {', '.join(beside)} too" if beside else ""
            return Fault(path, f"holds changes inside of an object; {ALONE}{each}")
    return None


def is_encoded(value: object) -> bool:
    """Return whether a value is a text that is JSON of an object or an array, by its ends."""
    text = value.strip() if isinstance(value, str) else ""
    return text[:1] + text[-1:] in ("{}", "[]")


def _find_changes(value: object, path: str, levels: int) -> str:
    """Return the path of the change or the array of them that stands first in a value; "" if none does."""
    if isinstance(value, list) and value:
        found = _find_changes(value[0], f"{path}[0]", levels - 1) if levels else ""
        return path if found == f"{path}[0]" else found
    if not isinstance(value, dict):
        return ""
    if len(value.keys() & OWN) > 1:
        return path
    paths = (_find_changes(item, path_of(name, path), levels - 1) for name, item in value.items() if levels)
    return next(filter(None, paths), "")
