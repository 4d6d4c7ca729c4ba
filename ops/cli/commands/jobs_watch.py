"""`relations jobs watch`: follows jobs to their end, with a line for each change of state."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

import click

from ops.cli.commands.jobs import jobs as group
from ops.cli.context import CommandContext, print_note, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import JobSelection, with_job_selection
from ops.explain.text import pluralize
from ops.serializers.jobs import write_job
from producers.job_admin.selection import find_jobs
from worker.errors import NotFound
from worker.ports.records import OPEN_STATES, JobRecord

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0  # seconds between two looks
MAX_PRINTED: Final = 1000  # of more jobs, changes of state are not printed


@group.command("watch")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Look no longer; 0: until all are finished.",
)
@with_context
@with_job_selection
def watch_jobs(context: CommandContext, selection: JobSelection, timeout: float) -> None:
    """Follow jobs until all are finished: those that are named, or those that fit a filter now.

    Exit code 1 if any failed, 4 if some are still open when the time is over.

    \b
    Examples:
      relations jobs watch acme-0f3k9x2b7c1d4e5g6h
      relations jobs watch --batch import-7 --timeout 600
    """
    found = [
        job_id
        for account, selected in selection.by_account(context).items()
        for piece in find_jobs(context.operations, account, selected)
        for job_id, job in piece.items()
        if job
    ]
    if not found:
        raise NotFound("there is no such job; finished jobs are kept for a while only")
    for job_id in dict.fromkeys(selection.job_ids):
        if job_id not in found:
            print_note(f"there is no job {job_id}")
    jobs = _follow(context, found, time.monotonic() + timeout if timeout else float("inf"))
    states = [job.state for job in jobs.values()]
    failed, still_open = states.count("failed"), sum(state in OPEN_STATES for state in states)
    waits = context.operations.find_waits(list(jobs.values()))
    context.answer(
        {"jobs": [write_job(job, waits) for job in jobs.values()]},
        [f"{pluralize(len(states), 'job')}: {failed:,} failed, {still_open:,} still open."],
    )
    exit_with(Exit.FAILED if failed else Exit.PARTLY if still_open else Exit.OK)


def _follow(context: CommandContext, job_ids: Sequence[str], deadline: float) -> Mapping[str, JobRecord]:
    """Return the jobs as they are in the end, or at the deadline; print each change of state on the way."""
    jobs: dict[str, JobRecord] = {}
    still_open, pause = list(job_ids), FIRST_PAUSE
    while True:
        found = context.operations.get_jobs(still_open)
        if len(job_ids) <= MAX_PRINTED:
            _print_changes(context, jobs, found)
        jobs |= found
        still_open = [
            job_id for job_id in still_open if (job := found.get(job_id)) and job.state in OPEN_STATES
        ]
        if not still_open or time.monotonic() > deadline:
            return jobs
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _print_changes(
    context: CommandContext, before: Mapping[str, JobRecord], now: Mapping[str, JobRecord]
) -> None:
    for job_id, job in now.items():
        if job_id not in before or before[job_id].state != job.state:
            context.remark(f"{job_id}  {job.state}")
