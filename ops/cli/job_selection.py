"""What every command that acts on jobs shares: whose hand it is, the jobs it is about, and how it says what was done."""

import getpass
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import click

from ops.cli.context import CommandContext
from ops.cli.filters import is_empty
from producers.job_admin.selection import Selection
from worker.errors import NotFound
from worker.ports import UNROUTED, JobFilter

Function = TypeVar("Function")


def by_option(function: Any) -> Any:
    """The option `--by`."""
    return click.option(
        "--by", metavar="WHO", default=_who, show_default="your user name", help="Who the audit shall name."
    )(function)


def wanted_of(
    desk: CommandContext, names: Sequence[str], wanted: JobFilter, account: str | None
) -> Mapping[str, Selection]:
    """Per account the jobs that are meant: those that were named, or those of one account that fit the filter."""
    if bool(names) == (not is_empty(wanted)):
        raise click.UsageError(
            "Name jobs, or say which by --state, --error, --batch and the like; --help lists them."
        )
    if not names:
        return {desk.lane(account): wanted}
    found: dict[str, list[str]] = {}
    for name in names:
        owner = name.rpartition("-")[0]
        if owner not in desk.settings.accounts and owner != UNROUTED:
            raise NotFound(f"there is no job {name}")
        found.setdefault(owner, []).append(name)
    return found


def reasons(refused: Mapping[str, int]) -> str:
    """`3 not failed, 1 gone`."""
    return ", ".join(
        f"{count:,} {reason}" for reason, count in sorted(refused.items(), key=lambda each: -each[1])
    )


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user that has no name
        return "cli"
