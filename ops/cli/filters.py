"""The filters of `GET /v1/jobs` as options, with the same checks and the same messages."""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, TypeVar, get_args

import click

from ops.cli.context import CommandContext
from producers.portals.http import query
from worker.contract import write_instant
from worker.errors import Invalid
from worker.ports import JobFilter, JobState

Function = TypeVar("Function", bound=Callable[..., Any])

TIME_UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}  # seconds
TIME_AGO: Final = re.compile(r"([0-9]{1,6})([smhd])")
PARAMETERS: Final[Mapping[str, str]] = {  # option → parameter of the HTTP interface
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
OPTIONS: Final = (
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


def with_job_filter(function: Function) -> Function:
    """Give a command the argument `job_filter`, a JobFilter, from options; goes below `with_context`."""

    @wraps(function)
    def run(context: CommandContext, *args: Any, **options: Any) -> Any:
        texts = {option: options.pop(option) for option in PARAMETERS}
        return function(context, *args, job_filter=_parse_filter(texts, context), **options)

    command: Any = run
    for option in reversed(OPTIONS):
        command = option(command)
    return command  # type: ignore[no-any-return]


def _parse_filter(texts: Mapping[str, str | None], context: CommandContext) -> JobFilter:
    parameters = [
        (PARAMETERS[option], _parse_time(text, context) if option in ("since", "until") else text)
        for option, text in texts.items()
        if text
    ]
    try:
        return query.read([("account", "any"), *parameters], query.Jobs).filter()
    except Invalid as error:
        options = {parameter: f"--{option}" for option, parameter in PARAMETERS.items()}
        faults = [f"{options.get(fault.path, fault.path)}: {fault.message}" for fault in error.faults]
        raise click.UsageError("; ".join(faults)) from None


def _parse_time(text: str, context: CommandContext) -> str:
    """Return an instant as the HTTP interface takes it; `2h` is two hours ago by the store's clock."""
    if not (ago := TIME_AGO.fullmatch(text)):
        return text
    return write_instant(context.read_clock() - int(ago[1]) * TIME_UNITS[ago[2]] * 1_000_000)
