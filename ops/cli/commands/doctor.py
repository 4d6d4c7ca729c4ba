"""`relations doctor`: checks every part of the system and says what to do."""

from collections.abc import Iterable, Iterator
from typing import Final

import click

from ops import doctor
from ops.cli.context import CommandContext, with_local_context
from ops.cli.errors import Exit, exit_with

COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor", short_help="Check every part, and say what to do.")
@click.option("--no-api", is_flag=True, help="Do not call the API.")
@with_local_context
def run_doctor(context: CommandContext, no_api: bool) -> None:
    """Check settings, Redis, clock, broker, workers, the sweep, credentials and rights.

    Each line says what to do. Fails when any check fails.

    \b
    Examples:
      relations doctor
      relations doctor --no-api --json
    """
    print_findings(context, doctor.run_checks(context.runtime, context.task_sender.app, api=not no_api))


def print_findings(context: CommandContext, findings: Iterable[doctor.Finding]) -> None:
    """Print findings as they come, with what to do; end as failed when any check failed."""
    made = list[doctor.Finding]()

    def format_lines() -> Iterator[str]:
        for finding in findings:
            made.append(finding)
            yield from _format_finding(finding)

    if context.as_json:
        made += findings
    context.answer({"findings": [finding.to_json() for finding in made]}, format_lines())
    exit_with(Exit.FAILED if any(finding.level == "fail" for finding in made) else Exit.OK)


def _format_finding(finding: doctor.Finding) -> Iterator[str]:
    level = click.style(f"{finding.level:4}", fg=COLOURS[finding.level])
    yield f"{level}  {finding.subject}: {finding.message}"
    if finding.advice:
        yield f"      → {finding.advice}"
