"""`relations accounts` and `relations keys`: lanes stopped and let go by hand, and keys of the HTTP interface."""

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, get_args

import click

from ops import doctor
from ops.cli import output
from ops.cli.context import CommandContext, with_desk
from ops.cli.errors import Exit, finish
from ops.cli.job_selection import by_option
from ops.serializers import account_json
from worker.config.checks import NAME
from worker.config.values import Right
from worker.errors import InvalidSettings
from worker.ports import AuditEntry, Pause

BY_HAND: Final = "hand"
RIGHTS: Final = get_args(Right)


@click.group()
def accounts() -> None:
    """Look at accounts, stop them, let them go on.

    \b
    Examples:
      relations accounts list
      relations accounts pause acme --why "moving to the new API user"
      relations accounts resume acme
    """


@accounts.command("list")
@with_desk
def listing(desk: CommandContext) -> None:
    """List the accounts of the settings: what waits and since when, the failures nobody has decided on, and which are stopped and why.

    \b
    Examples:
      relations accounts list
    """
    states = [account_json(desk.runtime, account, desk.zone) for account in desk.settings.accounts.values()]
    heads = ("ACCOUNT", "MODE", "INBOX", "OLDEST", "OPEN", "FAILED", "STATE")

    def lines() -> None:
        rows = [
            (
                *(each[name] for name in ("account", "mode", "backlog", "oldest", "open", "unresolved")),
                _words(each),
            )
            for each in states
        ]
        output.table(heads, rows)

    desk.answer({"accounts": states}, lines)


@accounts.command("pause")
@click.argument("name", metavar="ACCOUNT")
@click.option("--why", default="", metavar="TEXT", help="A reason for the others.")
@by_option
@with_desk
def pausing(desk: CommandContext, name: str, why: str, by: str) -> None:
    """Stop an account until it is resumed: changes are still accepted, and nothing is sent.

    \b
    Examples:
      relations accounts pause acme --why "moving to the new API user"
    """
    account = desk.settings.account(name).name
    desk.runtime.store.pause(
        account,
        Pause(BY_HAND, why),
        deed=AuditEntry(desk.runtime.intake().new_id(), by, "paused", account, why),
    )
    desk.answer(
        {"account": account, "paused": True},
        [f"{account} is paused; `relations accounts resume {account}` lets it go on."],
    )


@accounts.command("resume")
@click.argument("name", metavar="ACCOUNT")
@by_option
@with_desk
def resuming(desk: CommandContext, name: str, by: str) -> None:
    """Let a stopped account go on, whatever stopped it.

    \b
    Examples:
      relations accounts resume acme
    """
    account = desk.settings.account(name).name
    was = desk.runtime.store.resume(
        account, deed=AuditEntry(desk.runtime.intake().new_id(), by, "resumed", account)
    )
    desk.runtime.limiter.reset(account)
    desk.answer(
        {"account": account, "paused": False, "was_paused": was},
        [f"{account} goes on." if was else f"{account} was not paused."],
    )


@accounts.command("check")
@click.argument("name", metavar="[ACCOUNT]", required=False)
@with_desk
def checking(desk: CommandContext, name: str | None) -> None:
    """Try the credentials of one account, or of all, by a harmless read.

    \b
    Examples:
      relations accounts check
      relations accounts check acme --json
    """
    findings = [
        finding
        for account in desk.accounts(name)
        for finding in (
            *doctor.warnings(desk.settings, account.name),
            doctor.credentials(desk.runtime, account),
        )
    ]
    tell(desk, findings)


def tell(desk: CommandContext, findings: Iterable[doctor.Finding]) -> None:
    """Print findings as they come, with what to do; failed when any failed."""
    found = list[doctor.Finding]()

    def lines() -> None:
        for finding in findings:
            found.append(finding)
            click.echo(
                f"{click.style(f'{finding.level:4}', fg=_COLOURS[finding.level])}  {finding.what}: {finding.text}"
            )
            if finding.todo:
                click.echo(f"      → {finding.todo}")

    if desk.as_json:
        found += findings
        output.document({"findings": [finding._asdict() for finding in found]})
    else:
        lines()
    finish(Exit.FAILED if any(finding.level == "fail" for finding in found) else Exit.OK)


_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.group()
def keys() -> None:
    """Keys of the HTTP interface.

    \b
    Examples:
      relations keys new portal --account acme --can send
    """


@keys.command("new")
@click.argument("name")
@click.option(
    "--account",
    "names",
    multiple=True,
    metavar="NAME",
    help="For these accounts only; default: all of the settings.",
)
@click.option(
    "--can",
    multiple=True,
    type=click.Choice(RIGHTS),
    default=("send",),
    show_default=True,
    help="What it may do.",
)
@with_desk
def new(desk: CommandContext, name: str, names: tuple[str, ...], can: tuple[str, ...]) -> None:
    """Make a bearer key: it is shown once and kept nowhere; its hash goes into the settings.

    \b
    Examples:
      relations keys new portal --account acme --can send --can read
    """
    if not NAME.fullmatch(name):
        raise click.UsageError(
            f"A key's name begins with a letter or a digit and has at most 40 letters, digits, - and _, got {name!r}."
        )
    accounts = list(names) or _known(desk)
    key = f"rel_{secrets.token_urlsafe(32)}"
    entry = {"sha256": sha256(key.encode()).hexdigest(), "accounts": accounts, "can": list(can)}
    for remark in _remarks(desk, name, accounts):
        click.echo(f"note: {remark}", err=True)
    table = [f"[keys.{name}]", *(f"{field} = {json.dumps(value)}" for field, value in entry.items())]
    desk.answer(
        {"name": name, "key": key, **entry},
        [f"Key, shown this once: {key}", "", "Into the settings:", "", *table],
    )


def _known(desk: CommandContext) -> list[str]:
    """The accounts of the settings; a key may be made before the settings are right."""
    try:
        return sorted(desk.settings.accounts)
    except InvalidSettings:
        click.echo("note: the settings cannot be read, so name the accounts in what follows.", err=True)
        return []


def _remarks(desk: CommandContext, name: str, accounts: Sequence[str]) -> Iterator[str]:
    """What is odd about a key, by the settings."""
    with suppress(InvalidSettings):
        yield from (
            f"there is no account {each} in the settings"
            for each in accounts
            if each not in desk.settings.accounts
        )
        yield from (
            [f"the settings have a key {name} already: this one takes its place"]
            if name in desk.settings.keys
            else []
        )


def _words(state: dict[str, Any]) -> str:
    pause, pace = state["paused"], state["pace"]
    if pause is None and pace["breaker"] != "closed":
        return (
            f"breaker {pace['breaker'].replace('_', ' ')}, next probe at {pace['until']} ({pace['reason']})"
        )
    if pause is None:
        return (
            "works"
            if pace["factor"] == 1
            else f"works at {pace['factor']:.0%} of its pace ({pace['reason']})"
        )
    ends = f" until {pause['until']}" if pause["until"] else " until resumed"
    why = ": ".join(filter(None, (pause["reason"], pause["detail"])))
    return f"paused since {pause['since']}{ends} ({why})"
