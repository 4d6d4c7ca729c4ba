"""`jobs cancel` and `jobs dismiss`: queued changes ended, failures decided; first how many and which, and nothing without `--yes`."""

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

import click

from ops.cli.context import CommandContext, account_option, with_desk
from ops.cli.errors import Exit, finish
from ops.cli.filters import filtered
from ops.cli.job_selection import by_option, reasons, wanted_of
from ops.explain.words import count
from producers.job_admin.selection import Selection
from producers.services import build_services
from worker.ports import AdminResult, JobFilter, JobState

SHOWN: Final = 10
Act = Callable[..., AdminResult]


@click.command("cancel")
@click.argument("names", nargs=-1, metavar="[JOB]…")
@account_option
@click.option("--yes", is_flag=True, help="Do it.")
@by_option
@with_desk
@filtered
def cancelling(
    desk: CommandContext, names: tuple[str, ...], account: str | None, yes: bool, by: str, wanted: JobFilter
) -> None:
    """End queued changes that no worker has taken yet, as superseded; what was taken goes on.

    \b
    Examples:
      relations jobs cancel acme-0f3k9x2b7c1d4e5g6h --yes
      relations jobs cancel --account acme --batch import-7
    """
    _decide(
        desk,
        wanted_of(desk, names, wanted, account),
        "queued",
        build_services(desk.runtime).jobs.cancel,
        "cancelled",
        yes=yes,
        by=by,
    )


@click.command("dismiss")
@click.argument("names", nargs=-1, metavar="[JOB]…")
@account_option
@click.option("--yes", is_flag=True, help="Do it.")
@by_option
@with_desk
@filtered
def dismissing(
    desk: CommandContext, names: tuple[str, ...], account: str | None, yes: bool, by: str, wanted: JobFilter
) -> None:
    """Take failed jobs that need no replay off the list of failures; they stay failed.

    \b
    Examples:
      relations jobs dismiss acme-0f3k9x2b7c1d4e5g6h --yes
      relations jobs dismiss --account acme --error 160 --until 3d --yes
    """
    _decide(
        desk,
        wanted_of(desk, names, wanted, account),
        "failed",
        build_services(desk.runtime).jobs.dismiss,
        "dismissed",
        yes=yes,
        by=by,
    )


def _decide(
    desk: CommandContext,
    wanted: Mapping[str, Selection],
    state: JobState,
    act: Act,
    done: str,
    *,
    yes: bool,
    by: str,
) -> None:
    if not yes:
        _preview(desk, wanted, state, done)
        return
    acted = {account: act(account, which, by=by) for account, which in wanted.items()}
    jobs = [job for each in acted.values() for job in each.done]
    refused = {job: why for each in acted.values() for job, why in each.refused.items()}
    lines = [
        f"{count(len(jobs), 'job')} {done}.",
        *(f"note: {job} is {why}" for job, why in islice(refused.items(), SHOWN)),
    ]
    desk.answer({"preview": False, "jobs": jobs, "refused": refused}, lines)
    finish(Exit.OK if jobs and not refused else Exit.PARTLY if jobs else Exit.FAILED)


def _preview(desk: CommandContext, wanted: Mapping[str, Selection], state: JobState, done: str) -> None:
    jobs, refused = list[str](), dict[str, str]()
    for account, which in wanted.items():
        for fit, unfit in build_services(desk.runtime).jobs.preview(account, which, state):
            jobs += fit
            refused |= unfit
    document: dict[str, Any] = {"preview": True, "jobs": jobs, "refused": refused}
    lines = [
        f"{count(len(jobs), 'job')} would be {done}{': ' + ', '.join(jobs[:SHOWN]) if jobs else ''}{' …' if len(jobs) > SHOWN else ''}",
        *([f"not {done}: {reasons(Counter(refused.values()))}"] if refused else []),
        *(["Nothing was done. Add --yes."] if jobs else []),
    ]
    desk.answer(document, lines)
    finish(Exit.OK if jobs else Exit.FAILED)
