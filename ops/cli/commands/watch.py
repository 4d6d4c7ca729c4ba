"""`jobs watch`: follows jobs to their end, a line for each change of state."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from ops.cli.context import CommandContext, account_option, with_desk
from ops.cli.errors import Exit, finish
from ops.cli.filters import filtered
from ops.cli.job_selection import wanted_of
from ops.explain.words import count
from producers.job_admin.selection import find_jobs
from producers.portals.serializers import job_json
from worker.errors import NotFound
from worker.ports import OPEN_STATES, JobFilter, JobRecord

FIRST, LONGEST = 0.2, 2.0  # seconds between two looks
TOLD: Final = 1000  # jobs that are told one by one


@click.command("watch")
@click.argument("names", nargs=-1, metavar="[JOB]…")
@account_option
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Look no longer; 0: until all are finished.",
)
@with_desk
@filtered
def watching(
    desk: CommandContext, names: tuple[str, ...], account: str | None, timeout: float, wanted: JobFilter
) -> None:
    """Follow jobs until all are finished: those that are named, or those that fit a filter now.

    Exit code 1 if any failed, 4 if some are still open when the time is over.

    \b
    Examples:
      relations jobs watch acme-0f3k9x2b7c1d4e5g6h
      relations jobs watch --batch import-7 --timeout 600
    """
    jobs = [
        job
        for owner, which in wanted_of(desk, names, wanted, account).items()
        for job in _found(desk, owner, which)
    ]
    if not jobs:
        raise NotFound("there is no such job; finished jobs are kept for a while only")
    for name in dict.fromkeys(name for name in names if name not in jobs):
        click.echo(f"note: there is no job {name}", err=True)
    ended = _follow(desk, jobs, time.monotonic() + timeout if timeout else float("inf"))
    states = {job.id: job.state for job in ended.values()}
    failed, still = (
        list(states.values()).count("failed"),
        sum(state in OPEN_STATES for state in states.values()),
    )
    lines = [f"{count(len(states), 'job')}: {failed:,} failed, {still:,} still open."]
    desk.answer({"jobs": [dict(job_json(job)) for job in ended.values()]}, lines)
    finish(Exit.FAILED if failed else Exit.PARTLY if still else Exit.OK)


def _found(desk: CommandContext, account: str, which: Sequence[str] | JobFilter) -> Iterator[str]:
    for piece in find_jobs(desk.runtime.queries, account, which):
        yield from (name for name, job in piece.items() if job)


def _follow(desk: CommandContext, names: Sequence[str], until: float) -> Mapping[str, JobRecord]:
    """The jobs as they are in the end; each change of state is told on the way."""
    known: dict[str, JobRecord] = {}
    opened, pause = list(names), FIRST
    while opened:
        now = desk.runtime.queries.get_jobs(opened)
        for name, job in now.items():
            if (
                job
                and len(names) <= TOLD
                and not desk.as_json
                and (name not in known or known[name].state != job.state)
            ):
                click.echo(f"{name}  {job.state}", err=True)
        known |= {name: job for name, job in now.items() if job}
        opened = [name for name in opened if (found := now.get(name)) and found.state in OPEN_STATES]
        if not opened or time.monotonic() > until:
            break
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)
    return known
