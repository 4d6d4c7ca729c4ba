"""The reference of events and the code say the same: every event, how loud it is, and its fields."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from worker.log import LOUD, URGENT, level

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "events.md"
ROW = re.compile(r"^\| `([a-z]+\.[a-z]+)` \| (\w+) \| ([^|]*) \| (.+) \|$", re.MULTILINE)
TRIALS = ("ops/dev/demo", "ops/bench")  # they talk of themselves


class Said(NamedTuple):
    """One place in the code that says an event: a pattern of its name, its fields, and whether it has others too."""

    pattern: str
    fields: frozenset[str]
    more: bool


def said() -> Iterator[Said]:
    """Every one."""
    for room in ("worker", "producers", "ops"):
        for path in (ROOT / room).rglob("*.py"):
            if not str(path.relative_to(ROOT)).startswith(TRIALS):
                yield from filter(None, map(event_of, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))


def event_of(node: ast.AST) -> Said | None:
    """The event, if this is a call that says one."""
    if not (isinstance(node, ast.Call) and node.args and name_of(node.func) in ("emit", "_emit")):
        return None
    names = frozenset(each.arg for each in node.keywords if each.arg)
    more = any(each.arg is None for each in node.keywords)
    match node.args[0]:
        case ast.Constant(value=str(name)) if re.fullmatch(r"[a-z]+\.[a-z]+", name):
            return Said(re.escape(name), names, more)
        case ast.JoinedStr(values=[ast.Constant(value=str(name)), *_]) if re.fullmatch(r"[a-z]+\.", name):
            return Said(re.escape(name) + "[a-z]+", names, more)
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
    name: (loud, frozenset(re.findall(r"`(\w+)`", fields)))
    for name, loud, fields, _ in ROW.findall(REFERENCE.read_text("utf-8"))
}
SAID = list(said())


def test_every_event_that_is_said_is_in_the_reference_with_its_fields() -> None:
    assert len(SAID) > 15
    for pattern, fields, more in SAID:
        documented = [known for name, (_, known) in TABLE.items() if re.fullmatch(pattern, name)]
        assert documented, f"{pattern} is not in the reference"
        for known in documented:
            assert fields <= known if more else fields == known, pattern


def test_every_event_of_the_reference_is_said() -> None:
    assert {name for name in TABLE if not any(re.fullmatch(each.pattern, name) for each in SAID)} == set()


def test_the_reference_knows_how_loud_each_event_is() -> None:
    assert {name: loud for name, (loud, _) in TABLE.items()} == {name: level(name) for name in TABLE}
    assert set(TABLE) >= LOUD | URGENT


def test_the_reference_is_in_order() -> None:
    assert list(TABLE) == sorted(TABLE)
