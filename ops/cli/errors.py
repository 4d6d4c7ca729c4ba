"""The one place where an error becomes a message and an exit code; no command handles errors by itself."""

import json
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import click

from ops.cli.context import CommandContext
from ops.operations import ServerUnavailable
from producers.errors import CannotStart
from worker.config import mask_url
from worker.errors import (
    Invalid,
    InvalidSettings,
    NotFound,
    RelationsError,
    StoreUnavailable,
    StoreUnreadable,
)


class Exit(IntEnum):
    """The exit codes; documented in docs/reference/exit-codes.md."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    PARTLY = 4
    DRIFTED = 5
    INTERRUPTED = 130


def find_exit_code(error: RelationsError) -> Exit:
    """Return which exit code an error has."""
    if isinstance(error, InvalidSettings | StoreUnavailable | ServerUnavailable | CannotStart):
        return Exit.USAGE
    return Exit.NOT_FOUND if isinstance(error, NotFound) else Exit.FAILED


def print_error(error: RelationsError, context: CommandContext) -> None:
    """Print the error on stderr: as sentences, or with `--json` as one object."""
    text = "\n".join(_format_error(error, context))
    if not context.as_json:
        click.echo(text, err=True)
        return
    faults = [fault.to_dict() for fault in error.faults] if isinstance(error, Invalid) else []
    print_document(type(error).__name__, text, faults)


def print_document(kind: str, message: str, faults: Sequence[Mapping[str, Any]] = ()) -> None:
    """Print an error on stderr as one object, as `--json` asks for."""
    document = {"error": kind, "message": message, "faults": list(faults)}
    click.echo(json.dumps(document, ensure_ascii=False), err=True)


def _format_error(error: RelationsError, context: CommandContext) -> Sequence[str]:
    """Return what happened and what to do, a line per fault."""
    if isinstance(error, InvalidSettings):
        return ["The settings cannot be used:", *(f"  {fault}" for fault in error.faults)]
    if isinstance(error, StoreUnreadable):
        return [
            f"{str(error).rstrip('.')}. `relations doctor --store ACCOUNT` on its machine says what it is."
        ]
    if context.url and isinstance(error, StoreUnavailable):
        reason = f"{mask_url(context.url)} has no Redis: {str(error).rstrip('.')}."
        return [f"{reason} `relations doctor` on its machine checks every part."]
    if isinstance(error, StoreUnavailable):
        from worker.redis.client import is_answer, is_timeout  # which import redis, as few commands need it

        reason = f"{mask_url(context.settings.redis_url)}: {str(error).rstrip('.')}."
        remedy = "Mend what it says" if is_answer(error) else "Start it"
        remedy = "See why it hangs" if is_timeout(error) else remedy
        advice = "or set RELATIONS_REDIS_URL to one that runs; `relations doctor` checks every part."
        return [f"{reason} {remedy}, {advice}"]
    return list(map(str, error.faults)) if isinstance(error, Invalid) else [str(error)]


def exit_with(code: int) -> None:
    """End the command with this code, unless it is 0."""
    if code:
        sys.exit(code)
