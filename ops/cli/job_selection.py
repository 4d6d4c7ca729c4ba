"""Which jobs a command acts on, and on whose behalf."""

import getpass
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ops.cli.context import CommandContext
from producers.job_admin.cancel_dismiss import Wanted
from worker.errors import NotFound
from worker.ports import UNROUTED, JobFilter


def by_option(function: Any) -> Any:
    """Add the option `--by`."""
    return click.option(
        "--by",
        metavar="WHO",
        default=_get_user_name,
        show_default="your user name",
        help="Who the audit shall name.",
    )(function)


def select_jobs(
    context: CommandContext, job_ids: Sequence[str], job_filter: JobFilter, account: str | None
) -> Mapping[str, Wanted]:
    """Return per account the given jobs, or else the filter for the jobs of one account."""
    if bool(job_ids) == (job_filter != JobFilter()):
        raise click.UsageError(
            "Name jobs, or say which by --state, --error, --batch and the like; --help lists them."
        )
    if not job_ids:
        return {context.find_account_name(account): job_filter}
    by_account: dict[str, list[str]] = {}
    for job_id in job_ids:
        owner = job_id.rpartition("-")[0]
        if owner not in context.settings.accounts and owner != UNROUTED:
            raise NotFound(f"there is no job {job_id}")
        by_account.setdefault(owner, []).append(job_id)
    return by_account


def _get_user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user that has no name
        return "cli"
