"""`relations batch`: how far the jobs of a label are."""

import click

from ops.cli.context import CommandContext, account_option, with_desk
from producers.portals.serializers import batch_json


@click.command("batch", short_help="Tell how far the jobs of a batch label are.")
@click.argument("label")
@account_option
@with_desk
def batch(desk: CommandContext, label: str, account: str | None) -> None:
    """Tell how far the changes with this batch label are, as an import prints it; they are done when none is open.

    \b
    Examples:
      relations batch units.csv-6c49a718
      relations batch import-7 --account acme --json
    """
    name = desk.account(account).name
    counts = batch_json(name, label, desk.runtime.store.batch_counts(name, label))
    states = {
        "open": counts["open"],
        "succeeded": counts["succeeded"],
        "superseded": counts["superseded"],
        "failed": counts["failed"],
    }
    told = ", ".join(f"{number:,} {state}" for state, number in states.items() if number)
    desk.answer(counts, [f"{counts['accepted']:,} accepted: {told}"])
