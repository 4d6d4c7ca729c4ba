"""Commands that run something: the demo, the local stack, the HTTP interface, the simulator, the doctor.

Their parts are imported when they run: most need packages that the rest does without.
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click

from ops import doctor
from ops.cli.commands.accounts import tell
from ops.cli.context import CommandContext, with_desk
from ops.cli.errors import finish
from ops.simulator import FaultPlan, Simulator, Switches, serve
from worker import log
from worker.background import MessageSender
from worker.errors import InvalidSettings
from worker.wiring import Runtime


@click.command(short_help="Run the whole system once and tell what happened.")
@click.option(
    "--changes", type=click.IntRange(1), default=5000, show_default=True, help="How many changes are sent."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed sends the same changes.")
@click.option("--faults", is_flag=True, help="Lose answers, throttle and fail, as networks do.")
@with_desk
def demo(desk: CommandContext, changes: int, seed: int, faults: bool) -> None:
    """Run the whole system once, with real parts on this machine, and tell what happened.

    \b
    Examples:
      relations demo
      relations demo --changes 500 --seed 7 --faults
    """
    from ops.dev.demo import run

    finish(run(changes=changes, seed=seed, faults=faults, json=desk.as_json))


@click.command(short_help="Run the whole stack locally until Ctrl-C.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps data and logs; default: a new one, removed at the end.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Of the HTTP interface; 0 takes any free one.",
)
@click.option(
    "--simulator-port",
    type=click.IntRange(0, 65535),
    default=8090,
    show_default=True,
    help="Of the simulator.",
)
def dev(directory: Path | None, port: int, simulator_port: int) -> None:
    """Run the whole stack locally until Ctrl-C: server, simulator, worker, beat and HTTP interface.

    \b
    Examples:
      relations dev
      relations dev --directory ./dev --port 0
    """
    from ops.dev.local import run

    finish(run(directory=directory, port=port, simulator_port=simulator_port))


@click.command(short_help="Serve the HTTP interface.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; put a TLS proxy in front of anything else.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free one."
)
@with_desk
def api(desk: CommandContext, host: str, port: int) -> None:
    """Serve the HTTP interface: changes, jobs, webhooks, what operators ask and do, and metrics.

    \b
    Examples:
      relations api
      relations api --host 0.0.0.0 --port 8080
    """
    try:
        from ops.web.metrics import metrics
        from ops.web.routes import operators_table
        from producers.portals.http.application import serve as serve_http
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed; the HTTP interface needs onoffice-relations[http]."
        ) from error
    log.configure(desk.settings.log)
    runtime = Runtime(desk.settings, wake=MessageSender(desk.wake))  # one that says its events as log lines

    def hand(replay: str) -> None:
        try:
            desk.hand(replay)
        except Exception as error:  # whatever the broker's client raises; the sweep finds the replay
            runtime.emit("wake.failed", account=replay.rpartition("-")[0], error=type(error).__name__)

    serve_http(runtime, host=host, port=port, further=operators_table(hand, metrics(runtime)))


@click.command(short_help="Serve a simulator of the onOffice API.")
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
@with_desk
def simulator(
    desk: CommandContext,
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
    known = dict(map(_pair, accounts)) or _from_settings(desk)
    served = Simulator(known, switches=_switches(switches), faults=FaultPlan.random(seed, faults))
    try:
        server = serve(served, host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error
    # A script that runs the server in the background starts it with SIGINT ignored; Ctrl-C must end it anyway.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    desk.answer(
        {"url": server.url, "base": server.base, "accounts": len(known)},
        [f"{server.url}  ({len(known)} account(s))"],
    )
    sys.stdout.flush()
    with server:
        server.wait()


@click.command("doctor", short_help="Check every part, and say what to do.")
@click.option("--no-api", is_flag=True, help="Do not call the API.")
@with_desk
def examine(desk: CommandContext, no_api: bool) -> None:
    """Look at settings, Redis, clock, broker, workers, the sweep, credentials and rights; each line says what to do. Fails when any fails.

    \b
    Examples:
      relations doctor
      relations doctor --no-api --json
    """
    tell(desk, doctor.examine(desk.runtime, desk.celery, api=not no_api))


def _pair(text: str) -> tuple[str, str]:
    token, _, secret = text.partition(":")
    if not (token and secret):
        raise click.UsageError("--account wants TOKEN:SECRET.")
    return token, secret


def _from_settings(desk: CommandContext) -> dict[str, str]:
    """Tokens and secrets of the settings' accounts; without usable settings none, and `POST /_sim/seed` adds them."""
    try:
        return {
            account.token.reveal(): account.secret.reveal() for account in desk.settings.accounts.values()
        }
    except InvalidSettings:
        return {}


def _switches(texts: Sequence[str]) -> Switches:
    given: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        words = _values(name)
        if not words:
            raise click.UsageError(
                f"There is no switch {name}; there are {', '.join(field.name for field in fields(Switches))}."
            )
        if value not in words:
            raise click.UsageError(f"--switch {name} may be {', '.join(words)}; got {value}.")
        given[name] = words[value]
    return Switches(**given)


def _values(name: str) -> dict[str, object]:
    """What a switch may be, by its spelling; nothing for a name there is not."""
    hint = get_type_hints(Switches).get(name)
    choices = get_args(hint) or ((True, False) if hint is bool else ())
    return {str(choice).lower(): choice for choice in choices}
