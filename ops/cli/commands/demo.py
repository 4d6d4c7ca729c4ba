"""`relations demo`: runs the whole system once, on this machine."""

import click

from ops.cli.context import CommandContext, with_local_context
from ops.cli.errors import exit_with
from ops.cli.root import main


@main.command("demo", short_help="Run the whole system once and report what happened.")
@click.option(
    "--changes", type=click.IntRange(1), default=5000, show_default=True, help="How many changes are sent."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed sends the same changes.")
@click.option("--faults", is_flag=True, help="Lose answers, throttle and fail, as networks do.")
@with_local_context
def run_demo(context: CommandContext, changes: int, seed: int, faults: bool) -> None:
    """Run the whole system once, with real parts on this machine, and report what happened.

    \b
    Examples:
      relations demo
      relations demo --changes 500 --seed 7 --faults
    """
    from ops.dev.demo import run  # slow to import

    exit_with(run(changes=changes, seed=seed, faults=faults, json=context.as_json))
