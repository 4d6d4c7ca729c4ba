"""`python -m tests.torture [PART …]`: the system tortured, and the account of what survived; exit 1 if anything did not.

A single part with `--seed` that has a `replay`, such as `simulation --seed 4711`, tells that one story step by step.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import msgspec
from rich.console import Console

from tests.torture import report

WIDE: Final = 120  # characters, where there is no terminal to ask


class Lasts(NamedTuple):
    """The seconds of a part in its long form and with `--quick`."""

    long: float
    quick: float


PARTS: Final = {
    "kills": Lasts(120, 20),
    "simulation": Lasts(600, 10),
    "fuzz": Lasts(300, 10),
    "outages": Lasts(600, 20),
    "longlife": Lasts(600, 60),
}
"""Each is a module here with `run(*, seconds, first, echo)`, which answers a dataclass; `report.FATAL` names what must be 0 in it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Torture, print, exit."""
    there = [name for name in PARTS if find_spec(f"tests.torture.{name}")]
    chosen = _arguments(there).parse_args(argv)
    console = Console(highlight=False, stderr=chosen.json, width=None if sys.stdout.isatty() else WIDE)
    one = len(chosen.parts) == 1 and chosen.seed is not None and not (chosen.seconds or chosen.quick)
    if one and hasattr(_part(chosen.parts[0]), "replay"):
        return bool(_part(chosen.parts[0]).replay(chosen.seed, echo=console.print).wrong)
    facts: dict[str, Any] = {}
    for name in chosen.parts or there:
        seconds = chosen.seconds or (PARTS[name].quick if chosen.quick else PARTS[name].long)
        console.print(f"{name}, {seconds:g} s …")
        outcome = _part(name).run(seconds=seconds, first=chosen.seed or 0, echo=console.print)
        facts[name] = msgspec.to_builtins(outcome)
    _show(facts, console, json=chosen.json)
    return 0 if report.survived(facts) else 1


def _arguments(there: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*there, []],
        metavar="PART",
        help=f"one of {', '.join(there)}; all of them by default",
    )
    parser.add_argument("--seed", type=int, help="what all chance comes from")
    parser.add_argument("--seconds", type=float, help="how long each part lasts")
    parser.add_argument("--quick", action="store_true", help="about two minutes in all")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _part(name: str) -> Any:
    return importlib.import_module(f"tests.torture.{name}")


def _show(facts: dict[str, Any], console: Console, *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n")
    else:
        console.print(report.tables(facts))


if __name__ == "__main__":
    sys.exit(main())
