"""`python -m ops.bench [--quick] [--only PART,…] [--json] [--save FOLDER]`: every number of one run, with
those of other libraries beside it.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from ops.bench import accept, chart, comparison, growth, limiter, planner, report
from ops.bench.accept import intake
from ops.bench.comparison import FULL, QUICK, Extent
from ops.bench.temporary import OPEN_WIDE, temporary_stack
from ops.dev.stack import Part, Shape

Echo = Callable[[str], None]

HTTP: Final = "starlette"  # an extra; without it that line is missing
WIDE: Final = 140  # characters, where there is no terminal to ask
GROWTH: Final = (
    *(growth.Case("defaults", accounts, 2, 20_000) for accounts in (1, 10, 100, 2000)),
    *(growth.Case("defaults", 100, workers, 20_000) for workers in (1, 8)),
    *(growth.Case("wide open", accounts, workers, 60_000) for accounts, workers in ((1, 1), (2, 2), (4, 2))),
)
IN_QUICK: Final = ("accept", "work", "limiter")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, save, exit."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"under 90 seconds: {', '.join(IN_QUICK)}")
    parser.add_argument("--only", metavar="PART,…", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write bench.json and bench.svg there")
    chosen = parser.parse_args(argv)
    parts = chosen.only.split(",") if chosen.only else IN_QUICK if chosen.quick else tuple(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    console = Console(highlight=False, stderr=chosen.json, width=None if sys.stdout.isatty() else WIDE)
    facts = measure(parts, quick=chosen.quick, echo=console.print)
    if chosen.json:
        sys.stdout.write(_json(facts).decode() + "\n")
    else:
        console.print(report.tables(facts))
    if chosen.save:
        _save(chosen.save, facts)
    return 0


def measure(parts: Sequence[str], *, quick: bool, echo: Echo) -> dict[str, Any]:
    """Return the facts of these parts, measured in one run on one machine."""
    facts: dict[str, Any] = {"quick": quick, "machine": report.machine()}
    for part in parts:
        facts[part] = PARTS[part](quick, echo)
    if runs := facts.get("work", {}).get("runs"):
        facts["capacity"] = growth.capacity(_typical(runs))
    return facts


def _accept(quick: bool, echo: Echo) -> dict[str, Any]:
    """Measure changes per second accepted, while nobody works on them."""
    echo("accepting …")
    seconds, served = 0.7 if quick else 3.0, find_spec(HTTP) is not None
    parts: tuple[Part, ...] = ("api",) if served else ()
    shape = Shape(accounts=("one", "two", "three"), defaults=OPEN_WIDE, parts=parts)
    with temporary_stack(shape) as stack:
        rates = accept.direct(stack.runtime(wakes=False), "one", seconds=seconds)
        over_http = accept.over_http(stack, "two", seconds=seconds) if served else 0.0
        return {"http": over_http, "direct": rates, "python": intake(stack, "three")}


def _work(quick: bool, echo: Echo) -> dict[str, Any]:
    extent: Extent = QUICK if quick else FULL
    return comparison.compare(extent, echo=echo)


def _limiter(quick: bool, echo: Echo) -> dict[str, Any]:
    echo("limiters …")
    return limiter.measure(1.0 if quick else 5.0)


def _planner(_: bool, echo: Echo) -> dict[str, Any]:
    echo("the planner …")
    return planner.document(planner.measure())


def _growth(quick: bool, echo: Echo) -> dict[str, Any]:
    cases = [GROWTH[0]._replace(changes=2000)] if quick else GROWTH
    runs = []
    for case in cases:
        echo(f"growth: {case.how}, {case.accounts} accounts, {case.workers} workers …")
        runs.append(growth.grow(case))
    return {"runs": runs}


PARTS: Final[Mapping[str, Callable[[bool, Echo], dict[str, Any]]]] = {
    "accept": _accept,
    "work": _work,
    "limiter": _limiter,
    "planner": _planner,
    "growth": _growth,
}


def _typical(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the run that a day is reckoned from: the demo's burst, with the default settings if measured."""
    ours = [run for run in runs if run["who"] == report.OURS and not run["latency"]]
    return max(ours, key=lambda run: (run["load"] == "demo burst", run["how"] == "defaults"))


def _save(folder: Path, facts: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_bytes(_json(facts))
    if "work" in facts:
        (folder / "bench.svg").write_text(chart.draw(chart.panels_of(facts)), "utf-8")


def _json(facts: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(facts))


if __name__ == "__main__":
    sys.exit(main())
