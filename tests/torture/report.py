"""The account of a torture: every part's numbers, and whether everything survived. Facts in, text out."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

FATAL: Final = ("lost", "stuck", "left", "failed", "failing", "unanswered", "wrong", "repeated")
"""Numbers and lists of a part that must be 0 or empty, wherever they stand in it."""

Leaf = tuple[tuple[str, ...], Any]


def survived(facts: Mapping[str, Any]) -> bool:
    """Whether nothing fatal happened in any part."""
    return not any(value for path, value in leaves(facts) if _is_fatal(path))


def leaves(facts: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every number, text and list of nested facts, with its place."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def tables(facts: Mapping[str, Any]) -> Group:
    """One table a part, and the verdict; what is fatal and there is red."""
    verdict = (
        Text("\nEverything survived.\n", "bold green")
        if survived(facts)
        else Text("\nNot everything survived.\n", "bold red")
    )
    return Group(*(_table(name, part) for name, part in facts.items()), verdict)


def _table(name: str, part: Mapping[str, Any]) -> Table:
    table = Table(
        title=name,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        padding=(0, 2, 0, 0),
    )
    for path, value in leaves(part):
        table.add_row(
            " ".join(path).replace("_", " "), _said(value), style="red" if value and _is_fatal(path) else ""
        )
    return table


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "\n".join(map(_said, value)) or "none"
    if isinstance(value, Mapping):
        return " · ".join(f"{key.replace('_', ' ')} {_said(each)}" for key, each in value.items())
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _is_fatal(path: tuple[str, ...]) -> bool:
    return path[-1] in FATAL
