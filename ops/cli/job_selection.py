"""Which jobs a command acts on, and on whose behalf: the options that all acts on jobs share.

The filters are those of `GET /v1/jobs`, with the same checks and the same messages.
"""

import getpass
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, NamedTuple, TypeVar, get_args

import click
import msgspec

from ops.cli.context import CommandContext, Decorated, account_option, add_options, check_length
from ops.cli.times import parse_time
from ops.operations.filters import PARAMETERS
from producers.job_admin.selection import Selection, narrow
from producers.portals.http import query
from worker.contract import account_of, resolve
from worker.contract.values import strip_pasted
from worker.errors import Invalid, InvalidChange, NotFound
from worker.ports.records import FILTER_TIMES, JobFilter, JobState

Filter = TypeVar("Filter")

FILTER_OPTIONS: Final = (
    click.option(
        "--state",
        type=click.Choice(get_args(JobState)),
        help="In this state; `failed`: those that wait for a decision.",
    ),
    click.option("--type", metavar="TYPE", help="Of this relation type, by its short name or URN."),
    click.option("--parent", metavar="ID", help="That name this parent."),
    click.option("--child", metavar="ID", help="That name this child."),
    click.option("--error", metavar="CODE|CLASS", help="That failed of this, e.g. 160 or rights."),
    click.option("--source", metavar="NAME", help="From this source."),
    click.option("--batch", metavar="LABEL", help="Of this batch."),
    click.option("--event-id", metavar="ID", help="Of this event of a producer."),
    click.option(
        "--reference",
        metavar="REFERENCE",
        help="That name a record like this, found or not, e.g. address:email=x@example.test.",
    ),
    click.option(
        "--since",
        metavar="TIME",
        help="Accepted since then: 2026-11-21T02:00:00Z, 2026-11-21, 21.11.2026 14:30 (local time), today, "
        "yesterday, or 90m, 2h, 3d, 1w ago.",
    ),
    click.option("--until", metavar="TIME", help="Accepted before then."),
    click.option("--failed-since", metavar="TIME", help="Failed since then, and waiting for a decision."),
    click.option("--failed-until", metavar="TIME", help="Failed before then, and waiting for a decision."),
)


class JobSelection(NamedTuple):
    """Jobs by their ids, or those of one account that fit a filter."""

    job_ids: Sequence[str]
    account: str | None
    filter: JobFilter

    def only_failed(self) -> "JobSelection":
        """Return the selection with the filter narrowed to failed jobs."""
        return self._replace(filter=msgspec.structs.replace(self.filter, state="failed"))

    def by_account(self, context: CommandContext) -> Mapping[str, Selection]:
        """Return the selected jobs of each account; raises UsageError unless by ids or by a filter.

        Beside ids, a type, an error and the ids of records say which failed relations of them.
        """
        if not self.job_ids and self.filter == JobFilter():
            raise click.UsageError(
                "Name jobs, or say which by --state, --error, --batch and the like; --help lists them."
            )
        if not self.job_ids:
            return {context.find_inbox(self.account): self.filter}
        by_account: dict[str, list[str]] = {}
        for job_id in self.job_ids:
            by_account.setdefault(find_owner(context, job_id), []).append(job_id)
        try:
            return {owner: narrow(job_ids, self.filter) for owner, job_ids in by_account.items()}
        except InvalidChange:
            raise click.UsageError(
                "Name jobs, or say which by a filter; beside jobs, only --parent, --child, --type and "
                "--error say more: which failed relations of them."
            ) from None


def find_owner(context: CommandContext, job_id: str) -> str:
    """Return the account of a job, or `unrouted`; raises NotFound if there is none of that name."""
    owner = account_of(job_id)
    if owner not in context.inbox_names():
        raise NotFound(f"there is no job {job_id}")
    return owner


def with_job_selection(function: Decorated) -> Decorated:
    """Give a command the argument `selection`; goes below `with_context`."""

    @account_option
    @with_job_filter
    @wraps(function)
    def run(
        context: CommandContext,
        *args: Any,
        job_ids: Sequence[str],
        account: str | None,
        job_filter: JobFilter,
        **options: Any,
    ) -> Any:
        return function(context, *args, selection=JobSelection(job_ids, account, job_filter), **options)

    with_jobs = click.argument("job_ids", nargs=-1, type=strip_pasted, metavar="[JOB]…")
    return with_jobs(run)


def with_job_filter(function: Decorated) -> Decorated:
    """Give a command the argument `job_filter`, a JobFilter; goes below `with_context`."""

    @wraps(function)
    def run(context: CommandContext, *args: Any, **options: Any) -> Any:
        texts = {option: options.pop(option) for option in PARAMETERS}
        return function(context, *args, job_filter=parse_filter(texts, context), **options)

    return add_options(run, FILTER_OPTIONS)


def parse_filter(texts: Mapping[str, str | None], context: CommandContext) -> JobFilter:
    """Return the filter that these options give; raises UsageError, and NotFound for an unknown type."""
    if type_name := texts.get("type"):
        resolve(type_name)
    return read_options(
        lambda given: query.read_query([("account", "any"), *given], query.JobQuery).filter(), texts, context
    )


def read_options(
    read: Callable[[list[tuple[str, str]]], Filter], texts: Mapping[str, str | None], context: CommandContext
) -> Filter:
    """Return what `read` makes of options as parameters of the HTTP interface; raises UsageError."""
    names = {option: f"--{option.replace('_', '-')}" for option in texts}
    parameters = {option: PARAMETERS.get(option, option) for option in texts}
    given = [
        (parameters[option], parse_time(text, names[option], context) if option in FILTER_TIMES else text)
        for option, text in texts.items()
        if text
    ]
    try:
        return read(given)
    except Invalid as error:
        options = {parameters[option]: name for option, name in names.items()}
        faults = [f"{options.get(fault.path, fault.path)}: {fault.message}" for fault in error.faults]
        raise click.UsageError("; ".join(faults)) from None


def _get_user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user that has no name
        return "cli"


by_option: Final = click.option(
    "--by",
    metavar="WHO",
    callback=check_length,
    default=_get_user_name,
    show_default="your user name",
    help="Who the audit shall name.",
)
