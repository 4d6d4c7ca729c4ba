"""`relations erase`: a record, such as a person, taken out of everything that is kept."""

import click

from ops.cli.context import CommandContext, account_option, with_context
from ops.cli.job_selection import by_option
from ops.explain.text import format_tally
from worker.ports import record_ref


@click.command("erase")
@click.argument("module")
@click.argument("number", metavar="ID", type=click.IntRange(1))
@account_option
@click.option("--yes", is_flag=True, help="Do it; there is no way back.")
@click.option("--wait", "waits", is_flag=True, help="Wait for writes without an answer, and finish.")
@by_option
@with_context
def erase_record(
    context: CommandContext, module: str, number: int, account: str | None, yes: bool, waits: bool, by: str
) -> None:
    """Take a record, e.g. a person's address, out of all that is kept.

    That is jobs, histories, requests, payloads and replays. What was not sent and names it ends as
    superseded. A write of it without an answer may still land: the command says until when, and waits for it
    with --wait. The audit keeps that something was erased, not what. The CRM is not touched.

    \b
    Examples:
      relations erase address 9001 --account acme
      relations erase address 9001 --account acme --yes --wait
    """
    name = context.find_inbox(account)
    record_ref(module, number)  # refuses a module that there is not
    if not yes:
        what = f"{module} {number} would be taken out of everything kept of account {name}"
        context.answer(
            {"preview": True, "account": name, "module": module, "id": number},
            [f"{what}; open changes that name it would end. Add --yes."],
        )
        return
    counts = context.operations.erase(
        name, module, number, by=by, on_wait=(lambda error: context.remark(f"{error}")) if waits else None
    )
    erased = {kind: count for kind, count in counts.items() if count}
    text = f"Taken out: {format_tally(erased)}." if erased else "Nothing that is kept names it."
    context.answer({"preview": False, "account": name, "erased": erased}, [text])
