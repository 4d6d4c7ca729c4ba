"""`relations errors`: what failed and waits for a decision, grouped, with what to do about it."""

from collections.abc import Iterator, Sequence
from typing import Final

import click

from ops.cli.context import CommandContext, account_option, with_context
from ops.cli.output import print_lines, print_table
from ops.explain.advice import advise
from ops.explain.text import format_instant, pluralize
from ops.serializers.failures import describe_failure, serialize_failure, serialize_suspect
from producers.job_admin.suspects import RecordFailures
from worker.ports.records import FailureGroup

MAX_SUSPECTS: Final = 20  # records of an account that are listed

AccountFailures = Sequence[tuple[str, FailureGroup]]


@click.command("errors")
@account_option
@with_context
def list_errors(context: CommandContext, account: str | None) -> None:
    """List what failed and waits for a decision, by error and type, with what to do about it.

    Then the same by the record that most refusals name: one that is gone or locked makes all its relations
    fail.

    \b
    Examples:
      relations errors
      relations errors --account acme --json
    """
    accounts = [context.find_inbox(account)] if account else context.operations.inbox_names()
    failures = [(name, failure) for name in accounts for failure in context.operations.failure_groups(name)]
    suspects = [
        (name, suspect)
        for name in accounts
        for suspect in context.operations.find_suspects(name)[:MAX_SUSPECTS]
    ]
    context.answer_table(
        {
            "errors": [serialize_failure(name, failure) for name, failure in failures],
            "records": [serialize_suspect(name, suspect) for name, suspect in suspects],
        },
        ("ACCOUNT", "JOBS", "ERROR", "TYPE", "FIRST", "LAST", "EXAMPLE"),
        (_format_row(context, name, failure) for name, failure in failures),
    )
    if not context.as_json:
        if named := [each for each in suspects if each[1].relations > 1]:
            print_lines([""])
            heads = ("ACCOUNT", "RECORD", "RELATIONS", "JOBS", "ERROR", "FIRST", "LAST", "EXAMPLE")
            print_table(heads, [_format_suspect(context, *each) for each in named])
        print_lines(_format_advice(failures))


def _format_row(context: CommandContext, account: str, failure: FailureGroup) -> tuple[object, ...]:
    error = f"{failure.code} {failure.error}" if failure.code else failure.error
    times = (format_instant(at, context.zone) for at in (failure.first, failure.last))
    return account, f"{failure.jobs:,}", error, failure.type, *times, failure.example


def _format_suspect(context: CommandContext, account: str, suspect: RecordFailures) -> tuple[object, ...]:
    error = f"{suspect.code} {suspect.error}" if suspect.code else suspect.error
    times = (format_instant(at, context.zone) for at in (suspect.first, suspect.last))
    record = f"{suspect.module} {suspect.record}"
    return account, record, f"{suspect.relations:,}", f"{suspect.jobs:,}", error, *times, suspect.example


def _format_advice(failures: AccountFailures) -> Iterator[str]:
    """Yield one sentence per error, and the commands to go on with for the first one."""
    if not failures:
        yield "Nothing failed, or it was replayed or dismissed."
        return
    for failure in {(failure.code, failure.error): failure for _, failure in failures}.values():
        meaning = f"{failure.code}: {describe_failure(failure)}." if failure.code else f"{failure.error}:"
        yield f"{meaning} {advise(failure.code, failure.error)}"
    account, first = failures[0]
    error = first.code or first.error
    jobs = sum(
        failure.jobs
        for name, failure in failures
        if (name, failure.code or failure.error) == (account, error)
    )
    options = f"--account {account} --error {error}"
    replay = f"replay {pluralize(jobs, 'job')}: relations replay {options}"
    yield f"Look at them: relations jobs list {options}; {replay}"
