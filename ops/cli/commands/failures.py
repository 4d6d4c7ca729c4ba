"""`relations errors`: what failed and waits for a decision, grouped, with what to do about it."""

from collections.abc import Iterator

import click

from ops.cli import output
from ops.cli.context import CommandContext, account_option, with_desk
from ops.explain.words import count, instant
from ops.serializers import failure_json, said, todo
from worker.ports import UNROUTED, FailureGroup


@click.command("errors")
@account_option
@with_desk
def errors(desk: CommandContext, account: str | None) -> None:
    """What failed and waits for a decision, by error and type: how much, since when, and what to do about it.

    \b
    Examples:
      relations errors
      relations errors --account acme --json
    """
    lanes = [desk.lane(account)] if account else [*desk.settings.accounts, UNROUTED]
    found = [(each, failure) for each in lanes for failure in desk.runtime.queries.failure_groups(each)]

    def lines() -> None:
        heads = ("ACCOUNT", "JOBS", "ERROR", "TYPE", "FIRST", "LAST", "EXAMPLE")
        output.table(heads, [_row(desk, name, failure) for name, failure in found])
        output.lines(_todo(found))

    desk.answer({"errors": [failure_json(name, failure) for name, failure in found]}, lines)


def _row(desk: CommandContext, account: str, failure: FailureGroup) -> tuple[object, ...]:
    name = f"{failure.code} {failure.error}" if failure.code else failure.error
    times = (instant(at, desk.zone) for at in (failure.first, failure.last))
    return account, f"{failure.jobs:,}", name, failure.type, *times, failure.example


def _todo(found: list[tuple[str, FailureGroup]]) -> Iterator[str]:
    """One sentence per error, and how to go on."""
    if not found:
        yield "Nothing failed, or it was replayed or dismissed."
        return
    for failure in {(failure.code, failure.error): failure for _, failure in found}.values():
        yield (
            f"{failure.code or failure.error}: {said(failure)}. {todo(failure)}"
            if failure.code
            else f"{failure.error}: {todo(failure)}"
        )
    account, failure = found[0]
    which = failure.code or failure.error
    jobs = sum(other.jobs for name, other in found if (name, other.code or other.error) == (account, which))
    yield (
        f"Look at them: relations jobs list --account {account} --error {which}; replay {count(jobs, 'job')}: "
        + (f"relations replay --account {account} --error {which}")
    )
