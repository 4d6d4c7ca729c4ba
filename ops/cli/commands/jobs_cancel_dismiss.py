"""`relations jobs cancel` and `jobs dismiss`: previews of how many and which jobs; the acts with `--yes`."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import click

from ops.cli.context import CommandContext, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import JobSelection, by_option, with_job_selection
from ops.explain.text import format_tally, pluralize
from producers.job_admin.cancel_dismiss import CANCELLABLE, DISMISSABLE
from worker.ports import AdminResult, JobState

MAX_LISTED: Final = 10
Act = Callable[..., AdminResult]


@click.command("cancel")
@click.option("--yes", is_flag=True, help="Do it.")
@by_option
@with_context
@with_job_selection
def cancel_jobs(context: CommandContext, selection: JobSelection, yes: bool, by: str) -> None:
    """End changes that wait, as superseded: in the inbox, or taken and held, or before another try.

    What is under way, has no answer yet or has overruled other changes goes on, and the command says so.

    \b
    Examples:
      relations jobs cancel acme-0f3k9x2b7c1d4e5g6h --yes
      relations jobs cancel --account acme --batch import-7
    """
    if yes:
        _act(context, selection, context.services.jobs.cancel, "cancelled", by=by)
    else:
        _preview(context, selection, CANCELLABLE, "cancelled")


@click.command("dismiss")
@click.option("--yes", is_flag=True, help="Do it.")
@by_option
@with_context
@with_job_selection
def dismiss_jobs(context: CommandContext, selection: JobSelection, yes: bool, by: str) -> None:
    """Take failed jobs that need no replay off the list of failures; they stay failed.

    Beside ids, --parent, --child, --type and --error say which failed relations of them.

    \b
    Examples:
      relations jobs dismiss acme-0f3k9x2b7c1d4e5g6h --yes
      relations jobs dismiss --account acme --error 160 --until 3d --yes
    """
    if yes:
        _act(context, selection, context.services.jobs.dismiss, "dismissed", by=by)
    else:
        _preview(context, selection, DISMISSABLE, "dismissed")


def _act(context: CommandContext, selection: JobSelection, act: Act, done: str, *, by: str) -> None:
    jobs, refused = list[str](), dict[str, str]()
    for account, selected in selection.by_account(context).items():
        result = act(account, selected, by=by)
        jobs += result.done
        refused |= result.refused
    context.answer(
        {"preview": False, "jobs": jobs, "refused": refused},
        [
            f"{pluralize(len(jobs), 'job')} {done}.",
            *(f"note: {job} is {reason}" for job, reason in islice(refused.items(), MAX_LISTED)),
        ],
    )
    exit_with(Exit.OK if jobs and not refused else Exit.PARTLY if jobs else Exit.FAILED)


def _preview(context: CommandContext, selection: JobSelection, states: Sequence[JobState], done: str) -> None:
    jobs, refused = list[str](), dict[str, str]()
    for account, selected in selection.by_account(context).items():
        for fit, unfit in context.services.jobs.preview(account, selected, states):
            jobs += fit
            refused |= unfit
    listed = f": {', '.join(jobs[:MAX_LISTED])}" if jobs else ""
    more = " …" if len(jobs) > MAX_LISTED else ""
    lines = [f"{pluralize(len(jobs), 'job')} would be {done}{listed}{more}"]
    if refused:
        lines.append(f"not {done}: {format_tally(Counter(refused.values()))}")
    if jobs:
        lines.append("Nothing was done. Add --yes.")
    context.answer({"preview": True, "jobs": jobs, "refused": refused}, lines)
    exit_with(Exit.OK if jobs else Exit.FAILED)
