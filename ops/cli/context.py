"""What every command works with: settings and runtime when first asked for, the account meant, and how to answer.

Nothing is read or connected before a command needs it, so that `--help` works with broken settings and without Redis.
"""

import os
from collections.abc import Callable, Iterable
from datetime import datetime, tzinfo
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ops.cli import output
from worker.background import WakeupQueue
from worker.config import Account, Settings
from worker.live_settings import load_settings
from worker.ports import EventSink
from worker.redis.client import available
from worker.wakeups import TaskSender
from worker.wiring import Runtime

Function = TypeVar("Function", bound=Callable[..., Any])


class CommandContext:
    """One command's surroundings; made by click for each run."""

    def __init__(self) -> None:
        self.as_json = False

    @cached_property
    def settings(self) -> Settings:
        """The settings of this environment and working directory."""
        return load_settings(os.environ, Path.cwd())

    @cached_property
    def runtime(self) -> Runtime:
        """The live objects; events that a person should know of are printed on stderr."""
        emit = print_once()
        return Runtime(self.settings, wake=WakeupQueue(self.task_sender.wake, emit=emit), emit=emit)

    @cached_property
    def task_sender(self) -> TaskSender:
        """What sends messages to our tasks over the settings' broker."""
        return TaskSender(self.settings.broker_url, patch_kombu=True)

    @property
    def zone(self) -> tzinfo:
        """The local time zone."""
        return datetime.now().astimezone().tzinfo or output.UTC

    def now(self) -> int:
        """The store's clock, µs."""
        with available():
            seconds, micros = self.runtime.client.time()
        return int(seconds) * 1_000_000 + int(micros)

    def account(self, name: str | None) -> Account:
        """The account of that name, or the only one there is."""
        if name:
            return self.settings.account(name)
        known = sorted(self.settings.accounts)
        if len(known) == 1:
            return self.settings.accounts[known[0]]
        there = f"the settings have {len(known)}: {', '.join(known)}" if known else "the settings have none"
        raise click.UsageError(f"Say which account with --account ({there}).")

    def lane(self, name: str | None) -> str:
        """The account's name; also of the lane for messages that name none."""
        return self.settings.lane(name) if name else self.account(None).name

    def accounts(self, name: str | None) -> Iterable[Account]:
        """The account of that name, or all."""
        return [self.settings.account(name)] if name else list(self.settings.accounts.values())

    def answer(self, document: Any, lines: Iterable[str] | Callable[[], None]) -> None:
        """Print the document with `--json`, else the lines."""
        if self.as_json:
            output.document(document)
        elif callable(lines):
            lines()
        else:
            output.lines(lines)


PRINTED_BY_COMMANDS: Final = frozenset({"replay.done"})


def print_once() -> EventSink:
    """Return a sink that prints each event as a note on stderr, the same only once; what commands print is left out."""
    printed = set[str]()

    def emit(event: str, /, **fields: object) -> None:
        note = f"note: {' '.join([event, *(f'{key}={value}' for key, value in fields.items())])}"
        if event not in PRINTED_BY_COMMANDS and note not in printed:
            printed.add(note)
            click.echo(note, err=True)

    return emit


def with_desk(function: Function) -> Function:
    """Gives a command its desk as first argument, and the option `--json`."""

    @wraps(function)
    def run(*args: Any, as_json: bool, **options: Any) -> Any:
        desk = click.get_current_context().ensure_object(CommandContext)
        desk.as_json = as_json
        return function(desk, *args, **options)

    return click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")(run)  # type: ignore[return-value]


def account_option(function: Function) -> Function:
    """The option `--account`."""
    return click.option(
        "--account", metavar="NAME", help="Whose; needed only when the settings have several accounts."
    )(function)
