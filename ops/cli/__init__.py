"""The command line `relations`: each command here or in a module beside this one, errors in `errors`, printing in `show`.

Commands hold no logic of the system: they parse, call one thing, and print.
"""

from importlib.metadata import version

import click

from ops.cli.commands.accounts import accounts, keys
from ops.cli.commands.audit import audit, erase
from ops.cli.commands.batches import batch
from ops.cli.commands.failures import errors
from ops.cli.commands.imports import importing
from ops.cli.commands.jobs import explaining, jobs
from ops.cli.commands.replay import replay, replays
from ops.cli.commands.requests import requests
from ops.cli.commands.run import api, demo, dev, examine, simulator
from ops.cli.commands.send import send
from ops.cli.commands.sources import sources
from ops.cli.errors import Commands

__all__ = ["main"]


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok · 1 failed · 2 usage, settings or Redis · 3 not found · 4 partly.",
)
@click.version_option(version("onoffice-relations"), prog_name="relations")
def main() -> None:
    """Says what should be true of relations in onOffice, and shows what became of it.

    \b
    Examples:
      relations demo
      relations send create estate:address:buyer 501 9001
      relations explain estate:address:buyer 501 9001
      relations doctor
    """


COMMANDS = (
    demo,
    dev,
    send,
    importing,
    batch,
    jobs,
    explaining,
    errors,
    requests,
    replay,
    replays,
    audit,
    erase,
    accounts,
    keys,
    sources,
    examine,
    api,
    simulator,
)
for command in COMMANDS:
    main.add_command(command)
