"""`python -m ops.bench [--quick] [--json]`: every number of one run, with the aim and the peer beside it."""

import argparse
import runpy
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from ops.bench import accept, report
from ops.bench.celery_peer import peer
from ops.bench.end_to_end import OPEN_WIDE, UNPACED, through
from ops.bench.intake import intake
from ops.bench.load import bursts, links, scatter, toggles
from ops.dev.stack import Shape, Stack, running
from worker.contract import Change

Load = Callable[..., Sequence[Change]]

LOADS: Final[dict[str, Load]] = {
    "mailing": links,
    "quarrel": toggles,
    "scatter": scatter,
    "demo burst": bursts,
}
HTTP: Final = "starlette"  # an extra; without it that line is 0
WIDE: Final = 120  # characters, where there is no terminal to ask
PLANNER: Final = "ops.bench.planner"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, exit."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 90 seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = parser.parse_args(argv)
    console = Console(highlight=False, stderr=chosen.json, width=None if sys.stdout.isatty() else WIDE)
    facts = measure(quick=chosen.quick, echo=console.print)
    if chosen.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n")
    else:
        console.print(report.tables(facts))
    if not chosen.quick and not chosen.json and find_spec(PLANNER):
        runpy.run_module(PLANNER, run_name="__main__")
    return 0


def measure(*, quick: bool, echo: Callable[[str], None]) -> dict[str, Any]:
    """Everything, in one run on one machine."""
    seconds, changes, tasks = (1.5, 20_000, 1500) if quick else (5.0, 100_000, 5000)
    with tempfile.TemporaryDirectory(prefix="relations-bench-", ignore_cleanup_errors=True) as directory:
        accepted = _accepting(Path(directory, "accept"), seconds, echo)
        worked = _working(
            Path(directory, "work"),
            changes,
            tasks,
            concurrencies=(2, 4) if quick else (1, 2, 4, 8),
            echo=echo,
        )
    return {"quick": quick, "machine": report.machine(), "accept": accepted, **worked}


def _accepting(directory: Path, seconds: float, echo: Callable[[str], None]) -> dict[str, Any]:
    """Measure changes per second accepted, while nobody works on them."""
    echo("accepting …")
    served = find_spec(HTTP) is not None
    with running(directory, _shape(*(["api"] if served else []))) as stack:
        rates = accept.direct(stack.runtime(wakes=False), "one", seconds=seconds)
        over_http = accept.over_http(stack, "two", seconds=seconds) if served else 0.0
        return {"http": over_http, "direct": rates, "python": intake(stack, "three")}


def _working(
    directory: Path, changes: int, tasks: int, *, concurrencies: Sequence[int], echo: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Measure changes per second end to end, ours by kind of load and the peer's by concurrency."""
    with running(directory / "defaults", _shape("worker", defaults=UNPACED)) as stack:
        by_default = _loads(stack, changes, echo, ", default settings")
    with running(directory / "wide", _shape("worker")) as stack:
        ours = _loads(stack, changes, echo) | by_default
        stack.processes["worker"].stop()
        measured = {}
        for concurrency in concurrencies:
            echo(f"the peer, {concurrency} processes …")
            measured[str(concurrency)] = peer(
                stack, links(tasks, account="one", seed=concurrency), concurrency=concurrency
            ).document()
    return {"end_to_end": ours, "peer": measured}


def _loads(
    stack: Stack, changes: int, echo: Callable[[str], None], note: str = ""
) -> dict[str, dict[str, Any]]:
    """Measure every load, each in an account of its own."""
    runtime, found = stack.runtime(), {}
    for account, (name, load) in zip(stack.credentials, LOADS.items(), strict=True):
        echo(f"end to end: {name}{note} …")
        found[name + note] = through(stack, runtime, load(changes, account=account)).document()
    return found


def _shape(*parts: Any, defaults: Mapping[str, Any] = OPEN_WIDE) -> Shape:
    return Shape(accounts=("one", "two", "three", "four"), defaults=defaults, parts=parts, concurrency=1)


if __name__ == "__main__":
    sys.exit(main())
