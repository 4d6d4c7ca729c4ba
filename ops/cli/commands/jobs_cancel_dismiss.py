"""`relations jobs cancel` and `jobs dismiss`: previews of how many and which jobs; the acts with `--yes`."""

import click

from ops.cli.context import CommandContext, with_context
from ops.cli.job_acts import act_on_jobs, preview_selected
from ops.cli.job_selection import JobSelection, by_option, with_job_selection
from producers.job_admin.cancel_dismiss import CANCELLABLE, DISMISSABLE


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
        act_on_jobs(context, selection, context.operations.cancel, "cancelled", by=by)
    else:
        preview_selected(context, selection, CANCELLABLE, "cancelled")


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
        act_on_jobs(context, selection, context.operations.dismiss, "dismissed", by=by)
    else:
        preview_selected(context, selection, DISMISSABLE, "dismissed")
