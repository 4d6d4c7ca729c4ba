"""`python -m tests.torture [PART …]`: torture the system and report the losses; exit 1 if there are any.

A single part with `--seed` that can replay, such as `simulation --seed 4711`, prints that run step by step.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from rich.console import Console

from tests.torture import report

WIDTH: Final = 120  # columns where there is no terminal to ask


class Part(NamedTuple):
    """A module here, and the seconds that it runs by default and with `--quick`.

    The module has `run(*, seconds, first, echo)`, which returns a dataclass. `report.FATAL` lists the fields
    that must be 0 or empty.
    """

    module: str
    seconds: float
    quick: float


PARTS: Final = {
    "kills": Part("kills", 120, 20),
    "simulation": Part("simulation", 600, 10),
    "fuzz": Part("fuzz", 300, 10),
    "outages": Part("outages", 600, 20),
    "longlife": Part("long_life", 600, 60),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen parts and print the report; return the exit code."""
    options = _parser().parse_args(argv)
    console = Console(highlight=False, stderr=options.json, width=None if sys.stdout.isatty() else WIDTH)
    if options.seed is not None and len(options.parts) == 1 and not (options.seconds or options.quick):
        module = _load(options.parts[0])
        if hasattr(module, "replay"):
            return bool(module.replay(options.seed, echo=console.print).wrong)
    facts: dict[str, Any] = {}
    for name in options.parts or PARTS:
        seconds = options.seconds or (PARTS[name].quick if options.quick else PARTS[name].seconds)
        console.print(f"{name}, {seconds:g} s …")
        result = _load(name).run(seconds=seconds, first=options.seed or 0, echo=console.print)
        facts[name] = msgspec.to_builtins(result)
    _show(facts, console, json=options.json)
    return 0 if report.survived(facts) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*PARTS, []],
        metavar="PART",
        help=f"one of {', '.join(PARTS)}; all of them by default",
    )
    parser.add_argument("--seed", type=int, help="the seed of all random numbers")
    parser.add_argument("--seconds", type=float, help="how long each part lasts")
    parser.add_argument("--quick", action="store_true", help="about two minutes in all")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _load(part: str) -> Any:
    return importlib.import_module(f"tests.torture.{PARTS[part].module}")


def _show(facts: dict[str, Any], console: Console, *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n")
    else:
        console.print(report.render(facts))


if __name__ == "__main__":
    sys.exit(main())
