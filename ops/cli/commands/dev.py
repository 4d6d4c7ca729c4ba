"""`relations dev`: runs the whole stack on this machine until Ctrl-C."""

from pathlib import Path

import click

from ops.cli.context import local_only, port_option
from ops.cli.errors import exit_with
from ops.cli.root import main


@main.command("dev", short_help="Run the whole stack locally until Ctrl-C.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".relations-dev"),
    show_default=True,
    help="Keeps data, the simulated CRM, ports and logs; the next start goes on with them.",
)
@port_option("--port", 8080, "Of the HTTP interface; 0 takes any free one, and the same at the next start.")
@port_option("--simulator-port", 8090, "Of the simulator.")
@click.option(
    "--stream/--no-stream",
    default=True,
    show_default=True,
    help="Print a line for each change that comes in, and for what becomes of it.",
)
@click.option(
    "--open/--no-open",
    "opens",
    default=None,
    help="Open the pages in a browser; by default on a terminal with a screen.",
)
@local_only
def run_dev(directory: Path, port: int, simulator_port: int, stream: bool, opens: bool | None) -> None:
    """Run the whole stack locally until Ctrl-C: server, simulator, worker, beat and HTTP interface.

    It prints a first lesson (make a change fail, see why, replay it), and then what comes in and what becomes
    of it: relations by their ids, without what could name a person.

    \b
    Examples:
      relations dev
      relations dev --directory ./dev --port 0 --no-stream
    """
    from ops.dev.local import run  # slow to import

    exit_with(run(directory=directory, port=port, simulator_port=simulator_port, stream=stream, opens=opens))
