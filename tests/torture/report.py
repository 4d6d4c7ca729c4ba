"""The report of a torture: every part's numbers, and whether everything survived. Facts in, text out."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

FATAL: Final = ("lost", "stuck", "left", "failed", "failing", "unanswered", "wrong", "repeated")
"""Numbers and lists of a part that must be 0 or empty, at any depth."""


def survived(facts: Mapping[str, Any]) -> bool:
    """Return whether nothing fatal happened in any part."""
    return not any(value for path, value in flatten(facts) if path[-1] in FATAL)


def flatten(facts: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every number, text and list of nested facts with its path."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from flatten(value, (*path, key))
        else:
            yield (*path, key), value


def render(facts: Mapping[str, Any]) -> Group:
    """Return one table a part, fatal numbers in red, and whether everything survived."""
    if survived(facts):
        conclusion = Text("\nEverything survived.\n", "bold green")
    else:
        conclusion = Text("\nNot everything survived.\n", "bold red")
    return Group(*(_table(name, part) for name, part in facts.items()), conclusion)


def _table(name: str, part: Mapping[str, Any]) -> Table:
    table = Table(
        title=name,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        padding=(0, 2, 0, 0),
    )
    for path, value in flatten(part):
        is_bad = value and path[-1] in FATAL
        table.add_row(" ".join(path).replace("_", " "), _format(value), style="red" if is_bad else "")
    return table


def _format(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "\n".join(map(_format, value)) or "none"
    if isinstance(value, Mapping):
        return " · ".join(f"{key.replace('_', ' ')} {_format(item)}" for key, item in value.items())
    return f"{value:,}" if isinstance(value, int | float) else str(value)
