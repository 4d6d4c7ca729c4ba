"""A bench over a number of jobs as a program: `--jobs N`, `--json`."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console, RenderableType

Echo = Callable[[str], None]
Facts = Mapping[str, Any]


def run_program(
    argv: Sequence[str] | None,
    name: str,
    about: str | None,
    *,
    jobs: int,
    measure: Callable[[int, Echo], Facts],
    show: Callable[[Facts], RenderableType],
) -> Facts:
    """Measure with as many jobs as the options say (`jobs` by default), print the facts and return them."""
    parser = argparse.ArgumentParser(prog=f"python -m ops.bench.{name}", description=about)
    parser.add_argument("--jobs", type=int, default=jobs)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = parser.parse_args(argv)
    console = Console(highlight=False, stderr=chosen.json)
    facts = measure(chosen.jobs, console.print)
    if chosen.json:
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
    else:
        console.print(show(facts))
    return facts
