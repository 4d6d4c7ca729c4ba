"""The benches' facts as tables, with the aims and the ratios to the peer. Facts in, tables out."""

import os
import platform
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

AIM_ACCEPT: Final = 60_000  # changes per second, in batches
AIM_RATIO: Final = 25  # times the rate of one `.delay()` per change
AIM_THROUGH: Final = 20_000  # changes per second, end to end


def machine() -> str:
    """Return what it was measured on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def tables(facts: Mapping[str, Any]) -> Group:
    """Return the tables: accepting, end to end beside the peer, and where the time went."""
    best = max(facts["peer"].values(), key=lambda each: each["rate"])
    ours = facts["end_to_end"]
    return Group(
        Text(f"\nMeasured in one run on {facts['machine']}\n", style="bold"),
        _accepting(facts["accept"]),
        Text(),
        _through(ours, facts["peer"], best["rate"]),
        Text(),
        _cpu(
            ours | {f"peer, {count} processes": each for count, each in facts["peer"].items() if each is best}
        ),
    )


def _accepting(facts: Mapping[str, Any]) -> Table:
    table = _table("accepted", "changes/s", "aim")
    table.add_row("over HTTP, one per request, 32 connections", _number(facts["http"]), "")
    for size, rate in facts["direct"].items():
        table.add_row(
            f"straight to the store, {size} at a time",
            _number(rate),
            _number(AIM_ACCEPT) if size == "1000" else "",
        )
    python = facts["python"]
    table.add_row(
        "a list to Relations.connect(…).send", _number(python["send"]), _number(AIM_RATIO * python["delay"])
    )
    table.add_row(
        f"one Celery .delay() per change, 1/{python['ratio']:.1f} of that", _number(python["delay"]), ""
    )
    return table


def _through(ours: Mapping[str, Any], peers: Mapping[str, Any], best: float) -> Table:
    table = _table("end to end", "changes", "seconds", "changes/s", "× peer", "requests", "actions", "aim")
    for name, each in ours.items():
        table.add_row(name, *_line(each, best), _number(AIM_THROUGH))
    for count, each in peers.items():
        table.add_row(f"the peer, {count} processes", *_line(each, best), "")
    return table


def _line(each: Mapping[str, Any], best: float) -> tuple[str, ...]:
    whole = (
        _number(each["changes"]),
        f"{each['seconds']:.2f}",
        _number(each["rate"]),
        f"{each['rate'] / best:.1f}",
    )
    return (*whole, _number(each["requests"]), _number(each["actions"]))


def _cpu(runs: Mapping[str, Any]) -> Table:
    parts = ("producer", "redis", "worker", "simulator")
    table = _table("CPU, µs per change", *parts, "all")
    for name, each in runs.items():
        spent = [1e6 * each["cpu"].get(part, 0.0) / max(1, each["changes"]) for part in parts]
        table.add_row(name, *map(_number, (*spent, sum(spent))))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}"
