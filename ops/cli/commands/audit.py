"""`relations audit`: who did what."""

import click

from ops.cli.context import CommandContext, account_option, limit_option, with_context
from ops.explain.text import format_instant
from ops.serializers.audit import serialize_audit_entry


@click.command("audit")
@account_option
@limit_option
@click.option("--cursor", metavar="TEXT", default="", help="Where the last page ended.")
@with_context
def list_audit_log(context: CommandContext, account: str | None, limit: int, cursor: str) -> None:
    """List who did what to an account's jobs, newest first.

    \b
    Examples:
      relations audit --account acme
    """
    page = context.operations.audit_log(context.find_inbox(account), limit=limit, cursor=cursor)
    entries = page.entries
    rows = (
        (
            format_instant(entry.at, context.zone),
            entry.by,
            entry.act,
            f"{entry.count:,}",
            entry.what,
            entry.note,
        )
        for entry in entries
    )
    context.answer_table(
        {"deeds": [serialize_audit_entry(entry) for entry in entries], "next": page.next or None},
        ("AT", "WHO", "ACT", "COUNT", "WHAT", "NOTE"),
        rows,
        cursor=page.next,
    )
