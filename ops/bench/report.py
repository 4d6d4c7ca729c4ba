"""The benches' facts as tables, with ratios and spreads. Facts in, tables out."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops.bench import planner

PARTS: Final = ("producer", "redis", "worker", "simulator")
MIB: Final = 1 << 20
OURS: Final = "ours"

Facts = Mapping[str, Any]
Rows = Sequence[Facts]


def machine() -> str:
    """Return what it was measured on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def tables(facts: Facts) -> Group:
    """Return a table for each kind of facts that there are."""
    shown: list[RenderableType] = [Text(f"\nMeasured in one run on {facts['machine']}\n", style="bold")]
    for table in _tables(facts):
        shown += [table, Text()]
    return Group(*shown)


def _tables(facts: Facts) -> Iterator[RenderableType]:
    if accepted := facts.get("accept"):
        yield _accepting(accepted)
    if work := facts.get("work"):
        yield from _work(work)
    if limiter := facts.get("limiter"):
        yield _limiter(limiter)
    if growth := facts.get("growth"):
        yield _growth(growth["runs"])
    if capacity := facts.get("capacity"):
        yield _capacity(capacity)
    if planned := facts.get("planner"):
        yield Text("\n".join(planner.lines(planned)))


def _accepting(facts: Facts) -> Table:
    table = _table("accepted", "changes/s", "× .delay()")
    python = facts["python"]
    lines = {"over HTTP, one per request, 32 connections": facts["http"]} if facts["http"] else {}
    lines |= {f"straight to the store, {size} at a time": rate for size, rate in facts["direct"].items()}
    lines |= {
        "a list to Relations.connect(…).send": python["send"],
        "one Celery .delay() per change": python["delay"],
    }
    for name, rate in lines.items():
        table.add_row(name, _number(rate), _ratio(rate / python["delay"]))
    return table


def _work(facts: Facts) -> Iterator[RenderableType]:
    for latency in sorted({run["latency"] for run in facts["runs"]}):
        yield _rates([run for run in facts["runs"] if run["latency"] == latency], latency)
    yield _costs(facts["runs"])
    if wrong := [run for run in facts["runs"] if run["latency"] and run["load"] in ("quarrel", "demo burst")]:
        yield _end_states(wrong)
    if facts["killed"]:
        yield _killed(facts["killed"])
    if facts["light"]:
        yield _light(facts["light"])
    if facts["idle"]:
        yield _idle(facts["idle"])
    for name, why in facts["skipped"].items():
        yield Text(f"{name} was skipped, it could not be installed: {why}")


def best_peer(runs: Rows) -> float:
    """Return the changes per second of the fastest peer that makes one call per change; 0 without peers."""
    return max((run["rate"] for run in runs if _calls_singly(run)), default=0.0)


def _calls_singly(run: Facts) -> bool:
    return run["who"] not in (OURS, "celery-batches") and run["load"] == "mailing"


def _rates(runs: Rows, latency: float) -> Table:
    best = best_peer(runs)
    table = _table(
        f"API answers after {1000 * latency:g} ms",
        "load",
        "changes",
        "changes/s",
        "least–most",
        "× best peer",
        "requests",
        "actions",
        "/s at 4 requests/s",
    )
    for run in runs:
        spread = f"{_number(run['least'])}–{_number(run['most'])}" if run["rounds"] > 1 else ""
        times = _ratio(run["rate"] / best) if best else ""
        numbers = map(_number, (run["requests"], run["actions"], run["paced"]))
        table.add_row(
            _who(run), run["load"], _number(run["changes"]), _number(run["rate"]), spread, times, *numbers
        )
    return table


def _costs(runs: Rows) -> Table:
    table = _table("µs of CPU per change", "load", *PARTS, "all", "worker, MiB", "Redis, MiB")
    for run in runs:
        if run["latency"]:
            continue
        spent = [run["cpu_us"].get(part, 0.0) for part in PARTS]
        sizes = (run["worker_bytes"] / MIB, run["redis_bytes"] / MIB)
        table.add_row(_who(run), run["load"], *map(_number, (*spent, sum(spent), *sizes)))
    return table


def _end_states(runs: Rows) -> Table:
    table = _table("end states", "load", "changes", "relations", "wrong")
    for run in runs:
        table.add_row(_who(run), run["load"], *map(_number, (run["changes"], run["relations"], run["wrong"])))
    return table


def _killed(facts: Facts) -> Table:
    table = _table("a worker killed by SIGKILL", "changes", "not there a minute later", "s until the last")
    for name, each in facts.items():
        table.add_row(name, _number(each["changes"]), _number(each["lost"]), f"{each['seconds']:.1f}")
    return table


def _light(facts: Facts) -> Table:
    table = _table("accepted → applied, 20 changes/s", "p50, ms", "p99, ms")
    for name, each in facts.items():
        table.add_row(name, _number(1000 * each["p50"]), _number(1000 * each["p99"]))
    return table


def _idle(facts: Facts) -> Table:
    table = _table(
        "jobs that do nothing", "jobs", "jobs/s", "ours ×", "enqueued/s", "bytes waiting", "µs of CPU"
    )
    ours = facts[OURS]["rate"]
    for name, each in facts.items():
        rest = [_number(each[field]) if field in each else "" for field in ("enqueued", "bytes")]
        spent = sum(each["cpu_us"].get(part, 0.0) for part in ("producer", "redis", "worker"))
        name = "ours, changes with everything" if name == OURS else name
        table.add_row(
            name,
            _number(each["jobs"]),
            _number(each["rate"]),
            _ratio(ours / each["rate"]),
            *rest,
            _number(spent),
        )
    return table


def _limiter(facts: Facts) -> Table:
    table = _table(
        "8 processes want 50 slots/s", "granted", "allowed", "calls per grant", "least–most of one"
    )
    for name, each in facts.items():
        if name == "skipped":
            continue
        spread = f"{each['least']}–{each['most']}"
        table.add_row(
            name, _number(each["granted"]), _number(each["allowed"]), f"{each['calls_per_grant']:.2f}", spread
        )
    return table


def _growth(runs: Rows) -> Table:
    columns = (
        "accounts",
        "workers",
        "changes",
        "changes/s",
        "requests",
        "redis µs",
        "worker µs",
        "workers, MiB",
    )
    table = _table("settings", *columns)
    for run in runs:
        spent = (run["cpu_us"].get("redis", 0.0), run["cpu_us"]["worker"], run["worker_bytes"] / MIB)
        numbers = (run["accounts"], run["workers"], run["changes"], run["rate"], run["requests"], *spent)
        table.add_row(run["how"], *map(_number, numbers))
    return table


def _capacity(rows: Rows) -> Table:
    table = _table("alone it carries, in a day", "million changes", "then add")
    for row in rows:
        table.add_row(row["part"], f"{row['changes_a_day'] / 1e6:,.1f}", row["then"])
    return table


def _who(run: Facts) -> str:
    return f"{run['who']}, {run['how']}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        left = name in ("load", "then add")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _ratio(value: float) -> str:
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
