"""The command line `relations`: each command in a module of `commands` that bears its name.

Commands hold no logic of the system: they parse options, call one thing, and print.
"""

from importlib.metadata import version

import click

from ops.cli.commands.accounts import accounts
from ops.cli.commands.api import serve_api
from ops.cli.commands.audit import list_audit_log
from ops.cli.commands.batch import show_batch
from ops.cli.commands.callbacks import callbacks
from ops.cli.commands.deliveries import deliveries
from ops.cli.commands.demo import run_demo
from ops.cli.commands.dev import run_dev
from ops.cli.commands.doctor import run_doctor
from ops.cli.commands.drift import read_drift
from ops.cli.commands.erase import erase_record
from ops.cli.commands.errors import list_errors
from ops.cli.commands.explain import explain
from ops.cli.commands.import_file import import_file
from ops.cli.commands.jobs import jobs
from ops.cli.commands.keys import keys
from ops.cli.commands.mcp import serve_mcp
from ops.cli.commands.replay import replay_jobs
from ops.cli.commands.replays import replays
from ops.cli.commands.requests import requests
from ops.cli.commands.send import send_changes
from ops.cli.commands.simulator import serve_simulator
from ops.cli.commands.sources import sources
from ops.cli.commands.sources_templates import add_source, show_templates
from ops.cli.errors import RootGroup

__all__ = ["main"]


@click.group(
    cls=RootGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok · 1 failed · 2 usage, settings or Redis · 3 not found · 4 partly · 5 drifted.",
)
@click.version_option(version("onoffice-relations"), prog_name="relations")
def main() -> None:
    """Say what should be true of relations in onOffice, and see what became of it.

    \b
    Examples:
      relations demo
      relations send create estate:address:buyer 501 9001
      relations explain estate:address:buyer 501 9001
      relations doctor
    """


COMMANDS = (
    accounts,
    serve_api,
    list_audit_log,
    show_batch,
    deliveries,
    callbacks,
    run_demo,
    run_dev,
    run_doctor,
    read_drift,
    erase_record,
    list_errors,
    explain,
    import_file,
    jobs,
    keys,
    replay_jobs,
    replays,
    requests,
    send_changes,
    serve_mcp,
    serve_simulator,
    sources,
)
sources.add_command(show_templates)
sources.add_command(add_source)
for command in COMMANDS:
    main.add_command(command)
