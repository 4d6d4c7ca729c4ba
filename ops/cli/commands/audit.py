"""`relations audit` and `relations erase`: who did what, and a person taken out of everything that is kept."""

import click

from ops.cli import output
from ops.cli.context import CommandContext, account_option, with_desk
from ops.cli.errors import Exit, finish
from ops.cli.job_selection import by_option, reasons
from ops.explain.words import instant
from ops.serializers import deed_json
from producers.services import build_services
from worker.ports import record_ref


@click.command("audit")
@account_option
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--cursor", metavar="TEXT", default="", help="Where the last page ended.")
@with_desk
def audit(desk: CommandContext, account: str | None, limit: int, cursor: str) -> None:
    """List who did what to an account's jobs, newest first.

    \b
    Examples:
      relations audit --account acme
    """
    page = desk.runtime.job_admin.audit_log(desk.lane(account), limit=limit, cursor=cursor)

    def lines() -> None:
        rows = [
            (instant(each.at, desk.zone), each.by, each.act, f"{each.count:,}", each.what, each.note)
            for each in page.deeds
        ]
        output.table(("AT", "WHO", "ACT", "COUNT", "WHAT", "NOTE"), rows)
        if page.next:
            click.echo(f"more with --cursor {page.next}", err=True)

    desk.answer({"deeds": [deed_json(each) for each in page.deeds], "next": page.next or None}, lines)


@click.command("erase")
@click.argument("module")
@click.argument("number", metavar="ID", type=click.IntRange(1))
@account_option
@click.option("--yes", is_flag=True, help="Do it; there is no way back.")
@by_option
@with_desk
def erase(desk: CommandContext, module: str, number: int, account: str | None, yes: bool, by: str) -> None:
    """Take a record, e.g. a person's address, out of all that is kept: jobs, histories, requests, payloads, replays.

    What is open and names it ends as superseded. The audit keeps that something was erased, not what. The CRM is not touched.

    \b
    Examples:
      relations erase address 9001 --account acme
      relations erase address 9001 --account acme --yes
    """
    name = desk.lane(account)
    record_ref(module, number)
    if not yes:
        text = f"{module} {number} would be taken out of everything kept of account {name}; open changes that name it would end. Add --yes."
        desk.answer({"preview": True, "account": name, "module": module, "id": number}, [text])
        return
    counts = dict(build_services(desk.runtime).erasure.erase(name, module, number, by=by))
    found = {kind: number for kind, number in counts.items() if number}
    text = f"Taken out: {reasons(found)}." if found else "Nothing that is kept names it."
    desk.answer({"preview": False, "account": name, "erased": found}, [text])
    finish(Exit.OK)
