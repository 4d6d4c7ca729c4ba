"""What the demo prints: headings, lines and progress while it runs, then its report.

The report is the funnel from changes to requests, the outcomes and the checks: facts in, tables out.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console, Group
from rich.status import Status
from rich.table import Table
from rich.text import Text

INTERVAL: Final = 2.0  # seconds between plain lines of progress
WIDTH: Final = 120  # columns where there is no terminal to ask


class DemoConsole:
    """Prints what the demo does; a silent one prints nothing, so that a JSON document stays alone."""

    def __init__(self, *, silent: bool = False) -> None:
        # The command line escapes what a terminal would obey; a spinner has to be obeyed.
        file = getattr(sys.stdout, "original", sys.stdout)
        width = None if file.isatty() else WIDTH
        self._console = Console(file=file, highlight=False, quiet=silent, soft_wrap=True, width=width)
        self.started = time.monotonic()

    def title(self, text: str) -> None:
        """Print the heading of a new part."""
        self._console.print(f"\n[bold]{text}[/bold]")

    def echo(self, text: str) -> None:
        """Print one line."""
        self._console.print(f"  {text}")

    def show(self, renderable: object) -> None:
        """Print a table, or whatever rich can render."""
        self._console.print(renderable)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that shows the present state; it may be called as often as one likes."""
        if self._console.is_terminal and not self._console.quiet:
            with Status("", console=self._console) as status:
                yield status.update
        else:
            yield _ThrottledEcho(self.echo)


class _ThrottledEcho:
    """Prints a line if the last one was printed long enough ago."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo, self._next = echo, time.monotonic() + INTERVAL

    def __call__(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            self._echo(text)


BAR_WIDTH: Final = 30
SENTENCES: Final = {
    "redelivered_is_the_same_job": "a webhook that was delivered twice is one job",
    "never_without_broker": "no estate was ever without its broker",
    "accepted_once": "every change was accepted exactly once",
    "as_asked": "the CRM's relations equal what was asked for, missing addresses left out",
    "only_missing_failed": "exactly the changes that name a missing address failed",
    "as_asked_after_replay": "after the replay they equal it with nothing left out",
    "one_outcome_each": "every job has one outcome per relation, and none is open",
}
DEFAULT_RATE: Final = 4.0  # requests per second


def render(facts: Mapping[str, Any]) -> Group:
    """Return the funnel, the outcomes and the checks."""
    return Group(_funnel(facts), Text(), _outcomes(facts), Text(), _checks(facts))


def _funnel(facts: Mapping[str, Any]) -> Table:
    burst = facts["burst"]
    rows = {
        "changes sent": (burst["sent"], ""),
        "accepted": (burst["accepted"], "the others were repetitions"),
        "relations": (facts["after_burst"]["relations"], "what the CRM held after it"),
        "actions": (burst["actions"], f"provable minimum, had all been known at once: {facts['least']:,}"),
        "requests": (
            burst["requests"],
            f"one call per change: {burst['accepted']:,},"
            f" {_duration(burst['accepted'] / DEFAULT_RATE)} at {DEFAULT_RATE:g} per second",
        ),
    }
    table = _table()
    table.add_column()
    most = max(number for number, _ in rows.values())
    for name, (number, remark) in rows.items():
        table.add_row(
            name,
            f"{number:,}",
            f"[cyan]{'█' * max(1, round(BAR_WIDTH * number / most))}[/cyan]",
            f"[dim]{remark}[/dim]",
        )
    return table


def _outcomes(facts: Mapping[str, Any]) -> Table:
    table = _table()
    jobs = " · ".join(f"{number:,} {state}" for state, number in facts["jobs"].items() if number)
    results = " · ".join(f"{number:,} {result}" for result, number in facts["outcomes"].items() if number)
    table.add_row("jobs", "", jobs)
    table.add_row("relations asked", "", results)
    failed = facts["after_burst"]["failed_jobs"], facts["after_replay"]["failed_jobs"]
    table.add_row("replay", "", f"{failed[0]:,} jobs had failed for good, {failed[1]:,} after the replay")
    if facts["faults"]:
        table.add_row(
            "faults", "", " · ".join(f"{number:,} {kind}" for kind, number in facts["faults"].items())
        )
    table.add_row("time", "", f"{facts['burst']['seconds']:g} s for the burst, {facts['seconds']:g} s in all")
    table.add_row("again", "", facts["repeat"])
    return table


def _checks(facts: Mapping[str, Any]) -> Table:
    table = _table()
    for name, holds in facts["checks"].items():
        table.add_row("[green]✓[/green]" if holds else "[red]✗[/red]", "", SENTENCES[name])
    for example in facts["after_burst"]["examples"] + facts["after_replay"]["examples"]:
        table.add_row("", "", example)
    return table


def _table() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(justify="left", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    return table


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
