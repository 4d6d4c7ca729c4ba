"""`relations doctor`: checks every part of the system and says what to do."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import click

from ops.cli.context import CommandContext, with_local_context
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import by_option
from ops.cli.progress import show_progress
from ops.cli.root import main
from ops.doctor.checks import inspect_deliveries, inspect_store, run_checks
from ops.doctor.findings import Finding
from ops.explain.text import pluralize
from worker.errors import StoreUnreadable
from worker.ports.deliveries import DeliveryFlaw
from worker.ports.integrity import Inspection

COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}
MAX_LINES: Final = 100  # contradictions that are printed


@main.command("doctor", short_help="Check every part, and say what to do.")
@click.option("--no-api", is_flag=True, help="Do not call the API.")
@click.option("--store", metavar="ACCOUNT", help="Check all that is stored of this account, and only that.")
@click.option("--repair", is_flag=True, help="With --store: mend what contradicts itself.")
@by_option
@with_local_context
def run_doctor(context: CommandContext, no_api: bool, store: str | None, repair: bool, by: str) -> None:
    """Check settings, Redis, clock, broker, workers, the sweep, credentials and rights.

    Each line says what to do. Fails when any check fails.

    With --store it reads all that is stored of an account, and names what contradicts itself, as after a
    failover that lost writes: a change that stands nowhere, a counter that does not add up. With --repair it
    mends that; what has no outcome is read back and worked. Flushes of the account wait meanwhile, changes
    are accepted all the time. Fails when something is left; exit code 4 when only a part was mended.

    \b
    Examples:
      relations doctor
      relations doctor --no-api --json
      relations doctor --store acme
      relations doctor --store acme --repair
    """
    if store:
        _inspect(context, context.find_inbox(store), repair=repair, by=by)
        return
    if repair:
        raise click.UsageError("--repair needs --store ACCOUNT.")
    print_findings(context, run_checks(context.runtime, context.task_sender.app, api=not no_api))


def _inspect(context: CommandContext, account: str, *, repair: bool, by: str) -> None:
    """Check what is stored of an account, perhaps mend it, and say what was found."""
    accepted = 0
    with suppress(StoreUnreadable):
        accepted = context.runtime.store.counts(account).get("accepted", 0)
    with show_progress("jobs", accepted, quiet=context.as_json) as report:
        found = inspect_store(context.runtime, account, repair=repair, by=by, on_progress=report)
    deliveries = inspect_deliveries(context.runtime, account, repair=repair)
    document = {
        "account": account,
        "jobs": found.jobs,
        "relations": found.relations,
        "flaws": [flaw._asdict() for flaw in found.flaws],
        "deliveries": [flaw._asdict() for flaw in deliveries],
        "repaired": found.mended and bool(found.flaws),
    }
    lines = [*_format_deliveries(deliveries, repair), *_format_inspection(account, found, repair=repair)]
    context.answer(document, lines)
    if found.flaws and not found.mended:
        exit_with(Exit.PARTLY if repair else Exit.FAILED)
    if deliveries and not repair:
        exit_with(Exit.FAILED)


def _format_deliveries(flaws: Sequence[DeliveryFlaw], repair: bool) -> Iterator[str]:
    level = "warn" if repair else "fail"
    for flaw in flaws:
        styled = click.style(f"{level:4}", fg=COLOURS[level])
        yield f"{styled}  deliveries of source {flaw.source}: {flaw.message}"


def _format_inspection(account: str, found: Inspection, *, repair: bool) -> Iterator[str]:
    level = "warn" if found.mended else "fail"
    for flaw in found.flaws[:MAX_LINES]:
        yield f"{click.style(f'{level:4}', fg=COLOURS[level])}  {flaw.kind} {flaw.subject}: {flaw.message}"
    if len(found.flaws) > MAX_LINES:
        yield f"      and {len(found.flaws) - MAX_LINES:,} more; --json names all"
    jobs, relations = pluralize(found.jobs, "job"), pluralize(found.relations, "open relation")
    looked_at = f"{jobs} and {relations} of account {account}"
    if not found.flaws:
        yield f"{click.style('ok  ', fg=COLOURS['ok'])}  {looked_at}: nothing contradicts itself"
    elif found.mended:
        yield f"Mended {pluralize(len(found.flaws), 'contradiction')} among {looked_at}."
    else:
        yield f"{pluralize(len(found.flaws), 'contradiction')} among {looked_at}."
        todo = "Some came back: run it again." if repair else f"relations doctor --store {account} --repair"
        yield f"      → {todo}"


def print_findings(context: CommandContext, findings: Iterable[Finding]) -> None:
    """Print findings as they come, with what to do; end as failed when any check failed."""
    made = list[Finding]()

    def format_lines() -> Iterator[str]:
        for finding in findings:
            made.append(finding)
            yield from _format_finding(finding)

    if context.as_json:
        made += findings
    context.answer({"findings": [finding.to_json() for finding in made]}, format_lines())
    exit_with(Exit.FAILED if any(finding.level == "fail" for finding in made) else Exit.OK)


def _format_finding(finding: Finding) -> Iterator[str]:
    level = click.style(f"{finding.level:4}", fg=COLOURS[finding.level])
    yield f"{level}  {finding.subject}: {finding.message}"
    if finding.advice:
        yield f"      → {finding.advice}"
