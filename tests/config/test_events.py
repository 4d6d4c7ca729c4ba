"""The reference of events and the code agree: every event, its level, and its fields."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from worker.log import ERRORS, WARNINGS, level_of

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "events.md"
ROW = re.compile(r"^\| `([a-z]+\.[a-z]+)` \| (\w+) \| ([^|]*) \| (.+) \|$", re.MULTILINE)
TRIALS = ("ops/dev/demo", "ops/bench")  # their events are their own


class Emitted(NamedTuple):
    """One place in the code that emits an event: a pattern of its name, its fields, and if it has more."""

    pattern: str
    fields: frozenset[str]
    more: bool


@cache
def emitted() -> list[Emitted]:
    """Return every place, which no process reads the code for that only collects these tests."""
    return list(read_places())


def read_places() -> Iterator[Emitted]:
    for room in ("worker", "producers", "ops"):
        for path in (ROOT / room).rglob("*.py"):
            if not str(path.relative_to(ROOT)).startswith(TRIALS):
                yield from filter(None, map(event_of, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))


def event_of(node: ast.AST) -> Emitted | None:
    """Return the event, if this is a call that emits one."""
    if not (isinstance(node, ast.Call) and node.args and name_of(node.func) in ("emit", "_emit")):
        return None
    names = frozenset(keyword.arg for keyword in node.keywords if keyword.arg)
    more = any(keyword.arg is None for keyword in node.keywords)
    match node.args[0]:
        case ast.Constant(value=str(name)) if re.fullmatch(r"[a-z]+\.[a-z]+", name):
            return Emitted(re.escape(name), names, more)
        case ast.JoinedStr(values=[ast.Constant(value=str(name)), *_]) if re.fullmatch(r"[a-z]+\.", name):
            return Emitted(re.escape(name) + "[a-z]+", names, more)
    return None


def name_of(function: ast.expr) -> str:
    return (
        function.attr
        if isinstance(function, ast.Attribute)
        else function.id
        if isinstance(function, ast.Name)
        else ""
    )


TABLE = {
    name: (level, frozenset(re.findall(r"`(\w+)`", fields)))
    for name, level, fields, _ in ROW.findall(REFERENCE.read_text("utf-8"))
}


def test_every_emitted_event_is_in_the_reference_with_its_fields() -> None:
    assert len(emitted()) > 15
    for pattern, fields, more in emitted():
        documented = [known for name, (_, known) in TABLE.items() if re.fullmatch(pattern, name)]
        assert documented, f"{pattern} is not in the reference"
        for known in documented:
            assert fields <= known if more else fields == known, pattern


def test_every_event_of_the_reference_is_emitted() -> None:
    assert {
        name for name in TABLE if not any(re.fullmatch(place.pattern, name) for place in emitted())
    } == set()


def test_the_reference_knows_the_level_of_each_event() -> None:
    assert {name: level for name, (level, _) in TABLE.items()} == {name: level_of(name) for name in TABLE}
    assert set(TABLE) >= ERRORS | WARNINGS


def test_the_reference_is_in_order() -> None:
    assert list(TABLE) == sorted(TABLE)
