"""`relations jobs resolve` and `jobs look-up`: what people do about parked changes."""

from collections.abc import Mapping, Sequence
from typing import Final

import click

from ops.cli.context import CommandContext, with_context
from ops.cli.job_acts import act_on_jobs, preview_selected, print_preview, print_result
from ops.cli.job_selection import JobSelection, by_option, find_owner, with_job_selection
from producers.job_admin.resolve import PARKED, RecordChoice, preview_choice
from worker.contract.message import MAX_ID
from worker.contract.values import read_whole

LOOKED_UP: Final = "due to be looked up now"
RECORD: Final = click.IntRange(1, MAX_ID)


@click.command("resolve")
@click.argument("job_id", metavar="JOB")
@click.option("--parent", type=RECORD, metavar="ID", help="The parent is this record.")
@click.option("--child", type=RECORD, metavar="ID", help="The child is this record.")
@click.option(
    "--reference",
    "pairs",
    multiple=True,
    metavar="REFERENCE=ID",
    help="What is meant by a reference; where one side has several.",
)
@click.option("--all", "everywhere", is_flag=True, help="Also of other parked jobs that name it like this.")
@click.option("--yes", is_flag=True, help="With --all: do it.")
@by_option
@with_context
def resolve_job(
    context: CommandContext,
    job_id: str,
    parent: int | None,
    child: int | None,
    pairs: tuple[str, ...],
    everywhere: bool,
    yes: bool,
    by: str,
) -> None:
    """Say which record a change means that is parked, or that has failed because none or several were found.

    Once all its records are known, it is carried out. `jobs show` names the candidates.

    \b
    Examples:
      relations jobs resolve acme-0f3k9x2b7c1d4e5g6h --child 9001
      relations jobs resolve acme-0f3k9x2b7c1d4e5g6h --child 9001 --all
      relations jobs resolve acme-0f3k9x2b7c1d4e5g6h --reference address:email=x@example.test=9001
    """
    choice = RecordChoice(parent=parent or 0, child=child or 0, references=_parse_pairs(pairs))
    if choice == RecordChoice(references={}):
        raise click.UsageError("Say which record it is: --parent ID, --child ID or --reference REFERENCE=ID.")
    account = find_owner(context, job_id)
    if everywhere and not yes:
        _, jobs = preview_choice(context.operations, account, job_id, choice, everywhere=True)
        print_preview(context, jobs, {}, "resolved")
        return
    result = context.operations.resolve(account, job_id, choice, by=by, everywhere=everywhere)
    print_result(context, result.done, result.refused, "resolved")


def _parse_pairs(pairs: Sequence[str]) -> Mapping[str, int]:
    """Return the records by the texts of references, which may contain equals signs."""
    chosen = dict[str, int]()
    for pair in pairs:
        text, equals, number = pair.rpartition("=")
        record = read_whole(number.strip())
        if not (equals and text.strip() and record):
            raise click.UsageError(
                "--reference wants REFERENCE=ID, such as address:email=x@example.test=9001."
            )
        chosen[text.strip()] = record
    return chosen


@click.command("look-up")
@click.option("--yes", is_flag=True, help="Do it; of jobs that are named it is done without.")
@by_option
@with_context
@with_job_selection
def look_up_jobs(context: CommandContext, selection: JobSelection, yes: bool, by: str) -> None:
    """Look up the records of parked changes now, instead of when their delay is over.

    \b
    Examples:
      relations jobs look-up acme-0f3k9x2b7c1d4e5g6h
      relations jobs look-up --state parked --yes
      relations jobs look-up --reference address:email=x@example.test --yes
    """
    if yes or selection.job_ids:
        act_on_jobs(context, selection, context.operations.look_up, LOOKED_UP, by=by)
    else:
        preview_selected(context, selection, PARKED, LOOKED_UP)
