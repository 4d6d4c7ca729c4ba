"""`relations accounts`: how accounts stand; stopping them and letting them go on."""

from collections.abc import Mapping
from typing import Any, Final

import click

from ops.cli.commands.doctor import print_findings
from ops.cli.context import CommandContext, check_account_names, check_length, with_context
from ops.cli.job_selection import by_option
from ops.cli.root import main
from ops.explain.text import format_cause, pluralize
from ops.lookups import describe_resumed

COLUMNS: Final = ("account", "mode", "backlog", "oldest", "open", "unresolved")


@main.group("accounts")
def accounts() -> None:
    """Look at accounts, stop them, let them go on.

    \b
    Examples:
      relations accounts list
      relations accounts pause acme --why "moving to the new API user"
      relations accounts resume acme
    """


@accounts.command("list")
@with_context
def list_accounts(context: CommandContext) -> None:
    """List the accounts: what waits since when, unresolved failures, and which are stopped.

    \b
    Examples:
      relations accounts list
    """
    states = context.operations.list_accounts()
    heads = ("ACCOUNT", "MODE", "INBOX", "OLDEST", "OPEN", "FAILED", "STATE")
    rows = ([*(state[name] for name in COLUMNS), _describe_state(state)] for state in states)
    context.answer_table({"accounts": states}, heads, rows)
    listed = {state["account"] for state in states}
    for name in context.account_names():
        if name not in listed:
            context.remark(f"account {name} cannot be read: relations doctor --store {name}")


@accounts.command("show")
@click.argument("name", metavar="[ACCOUNT]", required=False, callback=check_account_names)
@with_context
def show_account(context: CommandContext, name: str | None) -> None:
    """Show one account: its changes by state, its pace, and why nothing of it is sent now.

    \b
    Examples:
      relations accounts show acme
      relations accounts show acme --json
    """
    state = context.operations.get_account(context.find_account(name))
    jobs = ", ".join(f"{number:,} {word}" for word, number in state["jobs"].items() if number)
    lines = [
        f"{state['account']}  {_describe_state(state)}",
        f"  mode {state['mode']}; open: {jobs or 'nothing'}; {state['unresolved']:,} failed and undecided",
    ]
    if waits := state["waits"]:
        lines.append(f"  waits for {_name_wait(waits)}: {waits['message']}")
    context.answer(state, lines)


@accounts.command("pause")
@click.argument("name", metavar="ACCOUNT", callback=check_account_names)
@click.option("--why", default="", metavar="TEXT", callback=check_length, help="A reason for the others.")
@by_option
@with_context
def pause_account(context: CommandContext, name: str, why: str, by: str) -> None:
    """Stop an account until it is resumed: changes are still accepted, and nothing is sent.

    \b
    Examples:
      relations accounts pause acme --why "moving to the new API user"
    """
    account = context.find_account(name)
    context.operations.pause_account(account, why, by=by)
    context.answer(
        {"account": account, "paused": True},
        [f"{account} is paused; `relations accounts resume {account}` lets it go on."],
    )


@accounts.command("resume")
@click.argument("name", metavar="ACCOUNT", callback=check_account_names)
@by_option
@with_context
def resume_account(context: CommandContext, name: str, by: str) -> None:
    """Let a stopped account go on at full pace, whatever stopped it: a pause, its breaker, or the API.

    \b
    Examples:
      relations accounts resume acme
    """
    resumed = context.operations.resume_account(context.find_account(name), by=by)
    context.answer(resumed, describe_resumed(resumed))


@accounts.command("check")
@click.argument("name", metavar="[ACCOUNT]", required=False, callback=check_account_names)
@with_context
def check_accounts(context: CommandContext, name: str | None) -> None:
    """Try the credentials of one account, or of all, by a harmless read.

    \b
    Examples:
      relations accounts check
      relations accounts check acme --json
    """
    chosen = [context.find_account(name)] if name else context.account_names()
    print_findings(
        context, [finding for account in chosen for finding in context.operations.check_account(account)]
    )


def _describe_state(state: Mapping[str, Any]) -> str:
    pause, pace = state["paused"], state["pace"]
    if pause:
        end = f"until {pause['until']}" if pause["until"] else "until resumed"
        return f"paused since {pause['since']} {end} ({format_cause(pause['reason'], pause['detail'])})"
    if pace["breaker"] != "closed":
        breaker = pace["breaker"].replace("_", " ")
        return f"breaker {breaker}, next probe at {pace['until']} ({pace['reason']})"
    slow = f" at {pace['factor']:.0%} of its pace ({pace['reason']})" if pace["factor"] != 1 else ""
    parked = state["jobs"].get("parked", 0)
    lacking = f"; {pluralize(parked, 'change')} parked" if parked else ""
    waiting = f"; next waits for {_name_wait(state['waits'])}" if state["waits"] else ""
    return f"works{slow}{waiting}{lacking}"


def _name_wait(waits: Mapping[str, Any]) -> str:
    return f"{waits['reason']} until {waits['until']}" if waits["until"] else str(waits["reason"])
