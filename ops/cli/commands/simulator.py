"""`relations simulator`: serves a simulator of the onOffice API."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from ipaddress import ip_address
from secrets import token_urlsafe
from typing import Any, Final, get_args, get_type_hints

import click

from ops.cli.context import CommandContext, port_option, with_local_context
from ops.cli.pairs import split_pairs
from ops.cli.root import main
from ops.simulator import FaultPlan, Simulator, Switches, serve
from producers.errors import cannot_listen
from worker.errors import InvalidSettings

KEY_VARIABLE: Final = "RELATIONS_SIMULATOR_KEY"


@main.command("simulator", short_help="Serve a simulator of the onOffice API.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; beyond this machine its control endpoints ask for a key.",
)
@port_option("--port", 8090, "0 takes any free one.")
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="TOKEN:SECRET",
    help="Who may call; default: the accounts of the settings.",
)
@click.option(
    "--switch",
    "switches",
    multiple=True,
    metavar="NAME=VALUE",
    help="How it behaves where the documentation is silent.",
)
@click.option(
    "--faults",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="RATE",
    help="How many requests go wrong, from 0 to 1.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones.")
@with_local_context
def serve_simulator(
    context: CommandContext,
    host: str,
    port: int,
    accounts: Sequence[str],
    switches: Sequence[str],
    faults: float,
    seed: int,
) -> None:
    """Serve a faithful simulator of the onOffice API for relation calls and reads of records.

    Its control endpoints ask for RELATIONS_SIMULATOR_KEY, and beyond this machine for a fresh key without it.

    \b
    Examples:
      relations simulator --account my-token:my-secret
      relations simulator --port 0 --switch duplicate_create=78 --faults 0.1 --seed 7
    """
    credentials, names = dict(map(_parse_credentials, accounts)), dict[str, str]()
    if not credentials:
        credentials, names = _read_credentials(context)
    key, fresh = _find_key(host)
    simulator = Simulator(
        credentials,
        switches=_parse_switches(switches),
        faults=FaultPlan.random(seed, faults),
        names=names,
        key=key,
    )
    try:
        server = serve(simulator, host, port)
    except OSError as error:
        raise cannot_listen(host, port, error) from error
    # A script that runs the server in the background starts it with SIGINT ignored; Ctrl-C must end it
    # anyway.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    shown = [f"Key of {server.base}/_sim/, shown this once: {fresh}"] if fresh else []
    context.answer(
        {
            "url": server.url,
            "base": server.base,
            "accounts": len(credentials),
            **({"key": fresh} if fresh else {}),
        },
        [f"{server.url}  ({len(credentials)} account(s))", *shown],
    )
    sys.stdout.flush()
    with server:
        server.wait()


def _parse_credentials(text: str) -> tuple[str, str]:
    token, _, secret = text.partition(":")
    if not (token and secret):
        raise click.UsageError("--account wants TOKEN:SECRET.")
    return token, secret


def _read_credentials(context: CommandContext) -> tuple[dict[str, str], dict[str, str]]:
    """Return secrets and names of the settings' accounts by token; `POST /_sim/seed` adds accounts.

    There are none if the settings are unusable.
    """
    try:
        accounts = context.settings.accounts.values()
    except InvalidSettings:
        return {}, {}
    secrets = {account.token.reveal(): account.secret.reveal() for account in accounts}
    return secrets, {account.token.reveal(): account.name for account in accounts}


def _find_key(host: str) -> tuple[str, str]:
    """Return the key of the control endpoints, and the same if it was made here and has to be shown."""
    if given := os.environ.get(KEY_VARIABLE, "").strip():
        return given, ""
    if _is_loopback(host):
        return "", ""
    fresh = f"sim_{token_urlsafe(24)}"
    return fresh, fresh


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse_switches(texts: Sequence[str]) -> Switches:
    switches: dict[str, Any] = {}
    for name, value in split_pairs("--switch", texts).items():
        values = _list_values(name)
        if not values:
            known = ", ".join(field.name for field in fields(Switches))
            raise click.UsageError(f"There is no switch {name}; there are {known}.")
        if value not in values:
            raise click.UsageError(f"--switch {name} may be {', '.join(values)}; got {value}.")
        switches[name] = values[value]
    return Switches(**switches)


def _list_values(name: str) -> dict[str, object]:
    """Return what a switch may be, by its spelling; nothing for an unknown name."""
    hint = get_type_hints(Switches).get(name)
    choices = get_args(hint) or ((True, False) if hint is bool else ())
    return {str(choice).lower(): choice for choice in choices}
