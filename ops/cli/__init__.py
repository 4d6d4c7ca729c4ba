"""The command line `relations`: each command in a module of `commands` that bears its name.

Commands hold no logic of the system: they parse options, call one thing, and print.
"""

from typing import Final

import click

from ops.cli.errors import RootGroup

__all__ = ["main"]

COMMANDS: Final = {
    "accounts": "accounts:accounts",
    "api": "api:serve_api",
    "audit": "audit:list_audit_log",
    "batch": "batch:show_batch",
    "callbacks": "callbacks:callbacks",
    "deliveries": "deliveries:deliveries",
    "demo": "demo:run_demo",
    "dev": "dev:run_dev",
    "doctor": "doctor:run_doctor",
    "drift": "drift:read_drift",
    "erase": "erase:erase_record",
    "errors": "errors:list_errors",
    "explain": "explain:explain",
    "import": "import_file:import_file",
    "jobs": "jobs:jobs",
    "keys": "keys:keys",
    "mcp": "mcp:serve_mcp",
    "replay": "replay:replay_jobs",
    "replays": "replays:replays",
    "requests": "requests:requests",
    "send": "send:send_changes",
    "simulator": "simulator:serve_simulator",
    "sources": "sources:sources",
}
"""Where each command stands, which is imported when it is used."""


@click.group(
    cls=RootGroup,
    places=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok · 1 failed · 2 usage, settings or Redis · 3 not found · 4 partly · 5 drifted.",
)
@click.version_option(package_name="onoffice-relations", prog_name="relations")
def main() -> None:
    """Say what should be true of relations in onOffice, and see what became of it.

    \b
    Examples:
      relations demo
      relations send create estate:address:buyer 501 9001
      relations explain estate:address:buyer 501 9001
      relations doctor
    """
