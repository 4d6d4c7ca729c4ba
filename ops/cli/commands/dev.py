"""`relations dev`: runs the whole stack on this machine until Ctrl-C."""

from pathlib import Path

import click

from ops.cli.context import local_only
from ops.cli.errors import exit_with


@click.command("dev", short_help="Run the whole stack locally until Ctrl-C.")
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
@local_only
def run_dev(directory: Path | None, port: int, simulator_port: int) -> None:
    """Run the whole stack locally until Ctrl-C: server, simulator, worker, beat and HTTP interface.

    \b
    Examples:
      relations dev
      relations dev --directory ./dev --port 0
    """
    from ops.dev.local import run  # slow to import

    exit_with(run(directory=directory, port=port, simulator_port=simulator_port))
