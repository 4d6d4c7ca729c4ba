"""Which jobs a command is about: the filters of `GET /v1/jobs` as options, with the same checks and the same words."""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, TypeVar, get_args

import click
import msgspec

from ops.cli.context import CommandContext
from producers.portals.http import query
from worker.contract import write_instant
from worker.errors import Invalid
from worker.ports import JobFilter, JobState

Function = TypeVar("Function", bound=Callable[..., Any])

UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
AGO: Final = re.compile(r"([0-9]{1,6})([smhd])")
OPTIONS: Final[Mapping[str, str]] = {  # option → parameter of the HTTP interface
    "state": "state",
    "type": "relationtype",
    "parent": "parentid",
    "child": "childid",
    "error": "error",
    "source": "source",
    "batch": "batch",
    "since": "since",
    "until": "until",
}


def filtered(function: Function) -> Function:
    """Gives a command that has its desk first the argument `wanted`, a Filter, from options that narrow down which jobs are meant."""

    @wraps(function)
    def run(desk: CommandContext, *args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in OPTIONS}
        return function(desk, *args, wanted=_filter(given, desk), **options)

    options = (
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
        click.option(
            "--since", metavar="TIME", help="Accepted since then: 2026-11-21T02:00:00Z, or 90m, 2h, 3d ago."
        ),
        click.option("--until", metavar="TIME", help="Accepted before then."),
    )
    made: Any = run
    for option in reversed(options):
        made = option(made)
    return made  # type: ignore[no-any-return]


def is_empty(wanted: JobFilter) -> bool:
    """Whether it would let every job through."""
    return wanted == JobFilter()


def words(wanted: JobFilter) -> str:
    """The filter as it was asked for, for people and for the audit: `state=failed error=160`."""
    given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value}
    return " ".join(
        f"{name}={write_instant(value) if name in ('since', 'until') else value}"
        for name, value in given.items()
    )


def _filter(given: Mapping[str, str | None], desk: CommandContext) -> JobFilter:
    asked = [
        (OPTIONS[name], _moment(value, desk) if name in ("since", "until") else value)
        for name, value in given.items()
        if value
    ]
    try:
        return query.read_query([("account", "any"), *asked], query.JobQuery).filter()
    except Invalid as error:
        back = {parameter: f"--{option}" for option, parameter in OPTIONS.items()}
        raise click.UsageError(
            "; ".join(f"{back.get(fault.path, fault.path)}: {fault.message}" for fault in error.faults)
        ) from None


def _moment(text: str, desk: CommandContext) -> str:
    """An instant as the interface takes it; `2h` is two hours ago by the store's clock."""
    ago = AGO.fullmatch(text)
    return write_instant(desk.now() - int(ago[1]) * UNITS[ago[2]] * 1_000_000) if ago else text
