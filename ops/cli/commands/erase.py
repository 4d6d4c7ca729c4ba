"""`relations erase`: a record, such as a person, taken out of everything that is kept."""

import json
from pathlib import Path

import click
import msgspec

from ops.cli.context import CommandContext, account_option, with_context
from ops.cli.job_selection import by_option
from ops.cli.root import main
from ops.explain.text import format_tally
from worker.ports.erasure import record_ref


@main.command("erase")
@click.argument("module")
@click.argument("number", metavar="ID", type=click.IntRange(1))
@account_option
@click.option("--yes", is_flag=True, help="Do it; there is no way back.")
@click.option("--wait", "waits", is_flag=True, help="Wait for writes without an answer, and finish.")
@click.option(
    "--proof",
    "proof_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write down what was done, as JSON without personal data.",
)
@click.option("--rewrite-aof", is_flag=True, help="Let the server rewrite its append-only file.")
@click.option("--only-account", is_flag=True, help="Leave messages alone that name no known account.")
@by_option
@with_context
def erase_record(
    context: CommandContext,
    module: str,
    number: int,
    account: str | None,
    yes: bool,
    waits: bool,
    proof_file: Path | None,
    rewrite_aof: bool,
    only_account: bool,
    by: str,
) -> None:
    """Take a record, e.g. a person's address, out of all that is kept.

    That is jobs, histories, requests, payloads and replays. What was not sent and names it ends as
    superseded. A write of it without an answer may still land: the command says until when, and waits for it
    with --wait. The audit keeps that something was erased, not what. The CRM is not touched.

    \b
    Examples:
      relations erase address 9001 --account acme
      relations erase address 9001 --account acme --yes --wait
      relations erase address 9001 --account acme --yes --proof erased.json --rewrite-aof
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
    proof, waiting = context.operations.erase(
        name,
        module,
        number,
        by=by,
        unrouted=not only_account,
        on_wait=(lambda error: context.remark(f"{error}")) if waits else None,
        rewrite_aof=rewrite_aof,
    )
    document = msgspec.to_builtins(proof)
    if proof_file:
        proof_file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if waiting:
        raise waiting
    erased = document["erased"]
    lines = [f"Taken out: {format_tally(erased)}." if erased else "Nothing that is kept names it."]
    if rewrite_aof:
        lines.append(f"The append-only file {proof.append_only_file}.")
    if proof_file:
        lines.append(f"What was done stands in {proof_file}.")
    context.answer({"preview": False, "account": name, "erased": erased, "proof": document}, lines)
