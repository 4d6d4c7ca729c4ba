"""`relations mcp`: tools for language models over standard input and output."""

import signal
import sys

import click

from ops.cli import end_at_once
from ops.cli.context import CommandContext, with_context
from ops.cli.root import main
from worker import log

MISSING = "relations mcp needs the package mcp; install it with: pip install 'onoffice-relations[mcp]'"


@main.command("mcp", short_help="Serve tools for language models, which send nothing.")
@with_context
def serve_mcp(context: CommandContext) -> None:
    """Serve tools of the Model Context Protocol over standard input and output.

    They look up accounts, jobs, failures, relations, requests and replays. One prepares a replay, which a
    person runs, or not: nothing here sends anything. With --url it asks the HTTP interface by its key.

    \b
    Examples:
      relations mcp
      relations mcp --url https://relations.example
    """
    try:
        from ops.mcp import make_server
    except ModuleNotFoundError as error:
        raise click.ClickException(MISSING) from error
    log.configure("json", stream=sys.stderr)  # standard output is the protocol's
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # for which its reader would not end
        signal.signal(signal.SIGINT, end_at_once)
    make_server(context.operations).run("stdio")
