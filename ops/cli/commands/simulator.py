"""`relations simulator`: serves a simulator of the onOffice API."""

import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import click

from ops.cli.context import CommandContext, with_local_context
from ops.simulator import FaultPlan, Simulator, Switches, serve
from worker.errors import InvalidSettings


@click.command("simulator", short_help="Serve a simulator of the onOffice API.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; its control endpoints ask for no key.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="0 takes any free one."
)
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
    """Serve a faithful simulator of the onOffice API for relation calls.

    \b
    Examples:
      relations simulator --account my-token:my-secret
      relations simulator --port 0 --switch duplicate_create=78 --faults 0.1 --seed 7
    """
    credentials = dict(map(_parse_credentials, accounts)) or _read_credentials(context)
    simulator = Simulator(
        credentials, switches=_parse_switches(switches), faults=FaultPlan.random(seed, faults)
    )
    try:
        server = serve(simulator, host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error
    # A script that runs the server in the background starts it with SIGINT ignored; Ctrl-C must end it
    # anyway.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    context.answer(
        {"url": server.url, "base": server.base, "accounts": len(credentials)},
        [f"{server.url}  ({len(credentials)} account(s))"],
    )
    sys.stdout.flush()
    with server:
        server.wait()


def _parse_credentials(text: str) -> tuple[str, str]:
    token, _, secret = text.partition(":")
    if not (token and secret):
        raise click.UsageError("--account wants TOKEN:SECRET.")
    return token, secret


def _read_credentials(context: CommandContext) -> dict[str, str]:
    """Return tokens and secrets of the settings; none if these are unusable (`POST /_sim/seed` adds some)."""
    try:
        accounts = context.settings.accounts.values()
    except InvalidSettings:
        return {}
    return {account.token.reveal(): account.secret.reveal() for account in accounts}


def _parse_switches(texts: Sequence[str]) -> Switches:
    switches: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
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
