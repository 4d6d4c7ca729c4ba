"""What acts on jobs print: previews of how many and which jobs, and what became of them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final

from ops.cli.context import CommandContext
from ops.cli.errors import Exit, exit_with
from ops.cli.job_selection import JobSelection
from ops.explain.text import format_tally, pluralize
from worker.ports import AdminResult, JobState

MAX_LISTED: Final = 10
Act = Callable[..., AdminResult]


def act_on_jobs(context: CommandContext, selection: JobSelection, act: Act, done: str, *, by: str) -> None:
    """Act on the selected jobs, and print what became of them; exits."""
    jobs, refused = list[str](), dict[str, str]()
    for account, selected in selection.by_account(context).items():
        result = act(account, selected, by=by)
        jobs += result.done
        refused |= result.refused
    print_result(context, jobs, refused, done)


def print_result(context: CommandContext, jobs: Sequence[str], refused: Mapping[str, str], done: str) -> None:
    """Print which jobs were acted on, and why others were not; exits."""
    context.answer(
        {"preview": False, "jobs": list(jobs), "refused": dict(refused)},
        [
            f"{pluralize(len(jobs), 'job')} {done}.",
            *(f"note: {job} is {reason}" for job, reason in islice(refused.items(), MAX_LISTED)),
        ],
    )
    exit_with(Exit.OK if jobs and not refused else Exit.PARTLY if jobs else Exit.FAILED)


def preview_selected(
    context: CommandContext, selection: JobSelection, states: Sequence[JobState], done: str
) -> None:
    """Print which of the selected jobs would be acted on; exits."""
    jobs, refused = list[str](), dict[str, str]()
    for account, selected in selection.by_account(context).items():
        for fit, unfit in context.operations.preview(account, selected, states):
            jobs += fit
            refused |= unfit
    print_preview(context, jobs, refused, done)


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
    exit_with(Exit.OK if jobs else Exit.FAILED)
