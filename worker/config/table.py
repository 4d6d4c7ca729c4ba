"""Reads TOML tables into dataclasses; every bad, missing and unknown key becomes a fault with its path.

msgspec judges each value by the annotation of its field. The texts are ours alone, so that none of them
repeats what may be a secret.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, Final, NamedTuple, get_args, get_type_hints

import msgspec

from worker.contract.quoting import escape_unprintable
from worker.errors import Fault

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")  # it also stands in URLs and logs
SHOWN: Final = 60  # characters of a refused value
KINDS: Final = {
    dict: "a table",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


class TableKey(NamedTuple):
    """A key of a table: the field it fills, what it may be, and whether it must be there."""

    field: str
    hint: Any
    required: bool


@cache
def keys_of(kind: type) -> dict[str, TableKey]:
    """Return the keys that a table of this kind may have."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        field.metadata.get("key", field.name): TableKey(
            field.name, hints[field.name], field.default is field.default_factory is MISSING
        )
        for field in fields(kind)
        if field.name != "name"  # it stands in the table's header
        if field.metadata.get("key", field.name)  # without one it is no key: the loader fills it
    }


class TableReader:
    """Reads tables and gathers their faults; `make` makes values of the types that msgspec does not know.

    What is at fault is left out of the value: it has its default then, or None.
    """

    def __init__(self, make: Callable[[type, Any], Any]) -> None:
        self.make = make
        self.faults: list[Fault] = []

    def table(self, kind: Any, content: Any, path: str, **inherited: Any) -> Any:
        """Return a table as a value of this kind, on top of what it inherits; None if it is no table."""
        if self._expect(dict, content, path) is None:
            return None
        keys = keys_of(kind)
        values: dict[str, Any] = {key.field: None for key in keys.values() if key.required}
        values |= inherited
        for name, key in keys.items():
            if name in content:
                if (value := self._value(key.hint, content[name], join(path, name))) is not None:
                    values[key.field] = value
            elif key.required:
                self._refuse(join(path, name), f"is missing; expected {describe(key.hint)}")
        self.unknown(content, keys, path)
        return kind(**values)

    def group(self, kind: Any, content: object, path: str, **inherited: Any) -> Mapping[str, Any]:
        """Return the tables inside a table as values of this kind, by their names."""
        named = "name" in {field.name for field in fields(kind)}
        explain = getattr(kind, "explain_name", explain_name)
        found: dict[str, Any] = {}
        for name, table in (self._expect(dict, content, path) or {}).items():
            if named and (reason := explain(name)):
                self._refuse(join(path, name), reason)
            own = inherited | ({"name": name} if named else {})
            found[name] = self.table(kind, table, join(path, name), **own)
        return MappingProxyType({name: value for name, value in found.items() if value is not None})

    def unknown(self, content: Iterable[str], known: Iterable[str], path: str) -> None:
        """Note each key that nobody reads, with the nearest one that is known."""
        for name in content:
            if name not in known:
                hint = nearest(name, known) or f"; known are {', '.join(known)}"
                self._refuse(join(path, name), f"is unknown{hint}")

    def _value(self, hint: Any, content: object, path: str) -> Any:
        if is_dataclass(row := next(iter(get_args(hint)), None)):
            rows = self._expect(list, content, path) or ()
            return tuple(self.table(row, table, f"{path}[{index}]") for index, table in enumerate(rows))
        extra = meta_of(hint).extra or {}
        if extra.get("listed") and isinstance(content, str):
            content = [content]
        try:
            # Of a float only the number counts: 2.0 may stand where a whole number is expected.
            value = msgspec.convert(content, hint, dec_hook=self.make, strict=not isinstance(content, float))
            if extra.get("accepts", lambda _: True)(value):
                return value
        except (msgspec.ValidationError, UnicodeError):  # whose text may hold the value
            pass
        got = "" if extra.get("private") else f", got {quote(content)}"
        reason = extra["explain"](content) if isinstance(content, str) and "explain" in extra else ""
        return self._refuse(path, f"expected {describe(hint)}{got}{'; ' if reason else ''}{reason}")

    def _expect(self, kind: type, content: object, path: str) -> Any:
        """Return a table or a list; anything else may be a secret in a wrong place, so it is not shown."""
        if isinstance(content, kind):
            return content
        return self._refuse(path, f"expected {KINDS[kind]}, got {KINDS.get(type(content), 'a date or time')}")

    def _refuse(self, path: str, message: str) -> None:
        self.faults.append(Fault(path, message))


def explain_name(name: str) -> str:
    """Return why this cannot be the name of a table, such as a key; "" if it can."""
    if NAME.fullmatch(name):
        return ""
    return f"expected a name (1 to 40 letters, digits, - and _, a letter or digit first), got {quote(name)}"


@cache
def meta_of(hint: Any) -> msgspec.Meta:
    """Return what an annotation says beyond the plain type."""
    return next((item for item in get_args(hint) if isinstance(item, msgspec.Meta)), msgspec.Meta())


def describe(hint: Any) -> str:
    """Return what an annotation expects, in words: its description, its range, or its choices."""
    meta, inner = meta_of(hint), get_args(hint)
    if meta.description:
        return meta.description
    if meta.ge is not None:
        return f"a {'whole ' if inner[0] is int else ''}number from {meta.ge} to {meta.le}"
    choices = get_args(inner[0]) if NoneType in inner else inner
    return f"one of {', '.join(map(quote, choices))}"


def quote(value: object) -> str:
    """Return the value as a person wrote it, cut to a readable length and safe to print."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):  # an integer of thousands of digits, tables in tables in tables
        text = f"something huge ({type(value).__name__})"
    return escape_unprintable(text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}…")


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `; did you mean "…"?` or nothing, to end a message with."""
    match = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f'; did you mean "{match[0]}"?' if match else ""


def join(path: str, key: str) -> str:
    """Return the path of a key, quoted as TOML wants it."""
    key = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else quote(key)
    return f"{path}.{key}" if path else key
