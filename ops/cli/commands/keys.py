"""`relations keys`: keys of the HTTP interface."""

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Final, get_args

import click

from ops.cli.context import CommandContext, check_account_names, print_note, with_local_context
from ops.cli.root import main
from worker.config.table import explain_name
from worker.config.values import Right
from worker.errors import InvalidSettings

RIGHTS: Final = get_args(Right)


@main.group("keys")
def keys() -> None:
    """Make keys of the HTTP interface.

    \b
    Examples:
      relations keys new portal --account acme --can send
    """


@keys.command("new")
@click.argument("name")
@click.option(
    "--account",
    "account_names",
    multiple=True,
    metavar="NAME",
    callback=check_account_names,
    help="For these accounts only; default: all of the settings.",
)
@click.option(
    "--can",
    "rights",
    multiple=True,
    type=click.Choice(RIGHTS),
    default=("send",),
    show_default=True,
    help="What it may do.",
)
@with_local_context
def create_key(
    context: CommandContext, name: str, account_names: tuple[str, ...], rights: tuple[str, ...]
) -> None:
    """Make a bearer key: it is shown once and kept nowhere; its hash goes into the settings.

    \b
    Examples:
      relations keys new portal --account acme --can send --can read
    """
    if reason := explain_name(name):
        raise click.BadParameter(reason, param_hint="NAME")
    accounts = list(account_names) or _list_accounts(context)
    key = f"rel_{secrets.token_urlsafe(32)}"
    entry = {"sha256": sha256(key.encode()).hexdigest(), "accounts": accounts, "can": list(rights)}
    for warning in _find_conflicts(context, name, accounts):
        print_note(warning)
    table = [f"[keys.{name}]", *(f"{field} = {json.dumps(value)}" for field, value in entry.items())]
    context.answer(
        {"name": name, "key": key, **entry},
        [f"Key, shown this once: {key}", "", "Into the settings:", "", *table],
    )


def _list_accounts(context: CommandContext) -> list[str]:
    """Return the accounts of the settings; a key may be made before the settings are right."""
    try:
        return sorted(context.settings.accounts)
    except InvalidSettings:
        print_note("the settings cannot be read, so name the accounts in what follows.")
        return []


def _find_conflicts(context: CommandContext, name: str, accounts: Sequence[str]) -> Iterator[str]:
    """Yield what does not fit the settings, as far as these can be read."""
    with suppress(InvalidSettings):
        settings = context.settings
        for account in accounts:
            if account not in settings.accounts:
                yield f"there is no account {account} in the settings"
        if name in settings.keys:
            yield f"the settings have a key {name} already: this one takes its place"
