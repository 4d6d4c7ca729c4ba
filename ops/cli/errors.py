"""The one place where an error becomes a message and an exit code; no command handles errors by itself."""

import json
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import click

from ops.cli.context import CommandContext
from worker.config.values import shielded
from worker.errors import Invalid, InvalidSettings, NotFound, RelationsError, StoreUnavailable


class Exit(IntEnum):
    """What a command ends with; documented in docs/reference/exit-codes.md."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    PARTLY = 4
    INTERRUPTED = 130


class Commands(click.Group):
    """The root: runs a command, and turns what it raises into one message on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of ours end it here, all others are bugs and stay loud."""
        desk = ctx.ensure_object(CommandContext)
        try:
            return super().invoke(ctx)
        except RelationsError as error:
            report(error, desk)
            ctx.exit(code_of(error))
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)


def code_of(error: RelationsError) -> Exit:
    """Which exit code an error of ours has."""
    if isinstance(error, InvalidSettings | StoreUnavailable):
        return Exit.USAGE
    return Exit.NOT_FOUND if isinstance(error, NotFound) else Exit.FAILED


def report(error: RelationsError, desk: CommandContext) -> None:
    """Say it on stderr: as sentences, or with `--json` as one object."""
    lines = message(error, desk)
    if desk.as_json:
        faults = [fault.to_dict() for fault in error.faults] if isinstance(error, Invalid) else []
        lines = [
            json.dumps(
                {"error": type(error).__name__, "message": "\n".join(lines), "faults": faults},
                ensure_ascii=False,
            )
        ]
    click.echo("\n".join(lines), err=True)


def message(error: RelationsError, desk: CommandContext) -> Sequence[str]:
    """What happened and what to do, a line per fault."""
    if isinstance(error, InvalidSettings):
        return ["The settings cannot be used:", *(f"  {fault}" for fault in error.faults)]
    if isinstance(error, StoreUnavailable):
        where = shielded(desk.settings.redis_url)
        why = str(error).rstrip(".")
        return [
            f"{where}: {why}. Start it, or set RELATIONS_REDIS_URL to one that runs; `relations doctor` checks every part."
        ]
    return list(map(str, error.faults)) if isinstance(error, Invalid) else [str(error)]


def finish(code: int) -> None:
    """End the command with this code unless all is well."""
    if code:
        sys.exit(code)
