"""`relations errors`: what failed and waits for a decision, grouped, with what to do about it."""

from collections.abc import Iterator, Sequence
from typing import Final

from ops.cli.context import CommandContext, account_option, with_context
from ops.cli.output import print_lines, print_table
from ops.cli.root import main
from ops.explain.text import pluralize
from ops.serializers.failures import FailureGroupDict, RecordFailuresDict

MAX_SUSPECTS: Final = 20  # records of an account that are listed


@main.command("errors")
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
    found = [context.operations.list_failures(name) for name in accounts]
    errors = [error for each in found for error in each["errors"]]
    records = [record for each in found for record in each["records"][:MAX_SUSPECTS]]
    context.answer_table(
        {"errors": errors, "records": records},
        ("ACCOUNT", "JOBS", "ERROR", "TYPE", "FIRST", "LAST", "EXAMPLE"),
        (_format_row(context, error) for error in errors),
    )
    if not context.as_json:
        if named := [record for record in records if record["relations"] > 1]:
            print_lines([""])
            heads = ("ACCOUNT", "RECORD", "RELATIONS", "JOBS", "ERROR", "FIRST", "LAST", "EXAMPLE")
            print_table(heads, [_format_suspect(context, record) for record in named])
        print_lines(_format_advice(errors))


def _format_row(context: CommandContext, failure: FailureGroupDict) -> tuple[object, ...]:
    what = f"{failure['jobs']:,}", _name_error(failure), failure["relationtype"]
    return failure["account"], *what, *_format_times(context, failure), failure["example"]


def _format_suspect(context: CommandContext, suspect: RecordFailuresDict) -> tuple[object, ...]:
    numbers = f"{suspect['relations']:,}", f"{suspect['jobs']:,}"
    record, times = f"{suspect['module']} {suspect['id']}", _format_times(context, suspect)
    return suspect["account"], record, *numbers, _name_error(suspect), *times, suspect["example"]


def _name_error(failure: FailureGroupDict | RecordFailuresDict) -> str:
    return f"{failure['code']} {failure['class']}" if failure["code"] else failure["class"]


def _format_times(context: CommandContext, failure: FailureGroupDict | RecordFailuresDict) -> tuple[str, str]:
    return context.format_time(failure["first"]), context.format_time(failure["last"])


def _format_advice(failures: Sequence[FailureGroupDict]) -> Iterator[str]:
    """Yield one sentence per error, and the commands to go on with for the first one."""
    if not failures:
        yield "Nothing failed, or it was replayed or dismissed."
        return
    for failure in {(failure["code"], failure["class"]): failure for failure in failures}.values():
        meaning = (
            f"{failure['code']}: {failure['message'].rstrip('.')}."
            if failure["code"]
            else f"{failure['class']}:"
        )
        yield f"{meaning} {failure['todo']}"
    account, error = failures[0]["account"], failures[0]["code"] or failures[0]["class"]
    alike = [
        each for each in failures if (each["account"], each["code"] or each["class"]) == (account, error)
    ]
    jobs = sum(failure["jobs"] for failure in alike)
    options = f"--account {account} --error {error}"
    replay = f"replay {pluralize(jobs, 'job')}: relations replay {options}"
    yield f"Look at them: relations jobs list {options}; {replay}"
