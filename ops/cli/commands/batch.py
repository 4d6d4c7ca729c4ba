"""`relations batch`: how far the jobs of a label are."""

from typing import Final

import click

from ops.cli.context import CommandContext, account_option, with_context
from ops.cli.root import main

STATES: Final = ("open", "succeeded", "superseded", "failed")


@main.command("batch", short_help="Show how far the jobs of a batch label are.")
@click.argument("label")
@account_option
@with_context
def show_batch(context: CommandContext, label: str, account: str | None) -> None:
    """Show how far the changes with this batch label are, as an import prints it.

    They are done when none is open.

    \b
    Examples:
      relations batch units.csv-6c49a718
      relations batch import-7 --account acme --json
    """
    batch = context.operations.count_batch(context.find_account(account), label)
    counts = ", ".join(f"{batch[state]:,} {state}" for state in STATES if batch[state])
    context.answer(batch, [f"{batch['accepted']:,} accepted: {counts}"])
