"""The demo's report: the funnel from changes to requests, the outcomes, the checks. Facts in, tables out."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

WIDTH: Final = 30
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
            f"[cyan]{'█' * max(1, round(WIDTH * number / most))}[/cyan]",
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
