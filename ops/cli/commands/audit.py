"""`relations audit`: who did what."""

from ops.cli.context import CommandContext, account_option, cursor_option, limit_option, with_context
from ops.cli.root import main
from ops.web.forms import ENTRY_PLACE


@main.command("audit")
@account_option
@limit_option
@cursor_option(ENTRY_PLACE, "TEXT")
@with_context
def list_audit_log(context: CommandContext, account: str | None, limit: int, cursor: str) -> None:
    """List who did what to an account's jobs, newest first.

    \b
    Examples:
      relations audit --account acme
    """
    page = context.operations.audit_log(context.find_inbox(account), limit=limit, cursor=cursor)
    rows = (
        (
            context.format_time(each["at"]),
            each["by"],
            each["act"],
            f"{each['count']:,}",
            each["what"],
            each["note"],
        )
        for each in page["deeds"]
    )
    context.answer_table(page, ("AT", "WHO", "ACT", "COUNT", "WHAT", "NOTE"), rows)
