"""`relations jobs cancel`, `dismiss`, `resolve` and `look-up`: previews, and the acts with `--yes`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final

import click

from ops.cli.commands.jobs import jobs as group
from ops.cli.context import CommandContext, with_context
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import JobSelection, by_option, find_owner, with_job_selection
from ops.cli.pairs import check_once
from ops.explain.text import format_tally, pluralize
from producers.job_admin.cancel_dismiss import CANCELLABLE, DISMISSABLE
from producers.job_admin.resolve import PARKED, RecordChoice, preview_choice
from producers.job_admin.selection import GONE, select_jobs
from worker.contract.message import MAX_ID
from worker.contract.values import read_whole, strip_pasted
from worker.ports.job_admin import AdminResult
from worker.ports.records import JobState

MAX_LISTED: Final = 10
LOOKED_UP: Final = "due to be looked up now"
RECORD: Final = click.IntRange(1, MAX_ID)

Act = Callable[..., AdminResult]


@group.command("cancel")
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
    act = partial(context.operations.cancel, by=by) if yes else None
    act_on_jobs(context, selection, act, CANCELLABLE, "cancelled")


@group.command("dismiss")
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
    act = partial(context.operations.dismiss, by=by) if yes else None
    act_on_jobs(context, selection, act, DISMISSABLE, "dismissed")


def act_on_jobs(
    context: CommandContext, selection: JobSelection, act: Act | None, states: Sequence[JobState], done: str
) -> None:
    """Act on the selected jobs, or without an act see which are in these states; print that, and exit."""
    jobs, refused = list[str](), dict[str, str]()
    for account, selected in selection.by_account(context).items():
        fit, unfit, *_ = (
            act(account, selected) if act else select_jobs(context.operations, account, selected, states)
        )
        jobs += fit
        refused |= unfit
    (print_result if act else print_preview)(context, jobs, refused, done)


def print_result(context: CommandContext, jobs: Sequence[str], refused: Mapping[str, str], done: str) -> None:
    """Print which jobs were acted on, and why others were not; exits."""
    context.answer(
        {"preview": False, "jobs": list(jobs), "refused": dict(refused)},
        [
            f"{pluralize(len(jobs), 'job')} {done}.",
            *(f"note: {job} is {reason}" for job, reason in islice(refused.items(), MAX_LISTED)),
        ],
    )
    exit_with(Exit.OK if jobs and not refused else Exit.PARTLY if jobs else _explain_nothing(refused))


def _explain_nothing(refused: Mapping[str, str]) -> Exit:
    """Return what a command ends with that acted on nothing: there may be none of the jobs."""
    return Exit.NOT_FOUND if set(refused.values()) == {GONE} else Exit.FAILED


def print_preview(
    context: CommandContext, jobs: Sequence[str], refused: Mapping[str, str], done: str
) -> None:
    """Print which jobs would be acted on; exits."""
    listed = f": {', '.join(jobs[:MAX_LISTED])}" if jobs else ""
    more = " …" if len(jobs) > MAX_LISTED else ""
    lines = [f"{pluralize(len(jobs), 'job')} would be {done}{listed}{more}"]
    if refused:
        lines.append(f"not {done}: {format_tally(Counter(refused.values()))}")
    if jobs:
        lines.append("Nothing was done. Add --yes.")
    context.answer({"preview": True, "jobs": list(jobs), "refused": dict(refused)}, lines)
    exit_with(Exit.OK if jobs else _explain_nothing(refused))


@group.command("resolve")
@click.argument("job_id", metavar="JOB", type=strip_pasted)
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
    chosen = list[tuple[str, int]]()
    for pair in pairs:
        text, equals, number = pair.rpartition("=")
        record = read_whole(number.strip())
        if not (equals and text.strip() and record):
            raise click.UsageError(
                "--reference wants REFERENCE=ID, such as address:email=x@example.test=9001."
            )
        chosen.append((text.strip(), record))
    check_once("--reference", (text for text, _ in chosen))
    return dict(chosen)


@group.command("look-up")
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
    act = partial(context.operations.look_up, by=by) if yes or selection.job_ids else None
    act_on_jobs(context, selection, act, PARKED, LOOKED_UP)
