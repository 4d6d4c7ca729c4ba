"""What every command works with: settings and live objects, the account in question, and how to answer.

Nothing is read or connected before a command needs it, so that `--help` works with broken settings and
without Redis.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ops.cli import output
from producers.services import Services, build_services
from worker.background import WakeupQueue
from worker.config import Account, Settings, load_settings
from worker.config.loader import FILE_VARIABLE
from worker.contract import explain_account_name
from worker.wakeups import TaskSender
from worker.wiring import Runtime

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_NOTE: Final = 200  # characters of a reason, and of a name
UNPRINTED_EVENTS: Final = frozenset({"replay.done"})  # the command itself reports these


class CommandContext:
    """The settings, live objects and output format of one command; click makes one for each run."""

    def __init__(self) -> None:
        self.as_json = False

    @cached_property
    def settings(self) -> Settings:
        """The settings of this environment and working directory, but for faulty sources.

        What a command needs of a secret that cannot be read, it misses when it uses it.
        """
        settings = load_settings(os.environ, Path.cwd(), spare=True)
        if not settings.file:
            print_note(next(text for text in settings.warnings if text.startswith(FILE_VARIABLE)))
        return settings

    def require_all_settings(self) -> None:
        """Raise InvalidSettings for any fault: of a command that serves whatever the settings hold."""
        load_settings(os.environ, Path.cwd())

    @cached_property
    def runtime(self) -> Runtime:
        """The live objects; their events are printed as notes."""
        print_event = EventPrinter()
        wake = WakeupQueue(self.task_sender.wake, emit=print_event)
        return Runtime(self.settings, wake=wake, emit=print_event)

    @cached_property
    def services(self) -> Services:
        """What acts on jobs needs of the runtime."""
        return build_services(self.runtime)

    @cached_property
    def task_sender(self) -> TaskSender:
        """What sends messages to our tasks over the settings' broker."""
        return TaskSender(self.settings.broker_url, self.settings.prefix)

    @property
    def zone(self) -> tzinfo:
        """The local time zone."""
        return datetime.now().astimezone().tzinfo or UTC

    def read_clock(self) -> int:
        """Return the store's time, in µs since 1970."""
        return self.runtime.metrics.now()

    def find_account(self, name: str | None) -> Account:
        """Return the account of that name, or the only one there is."""
        if name:
            return self.settings.account(name)
        known = sorted(self.settings.accounts)
        if len(known) == 1:
            return self.settings.accounts[known[0]]
        there = f"the settings have {len(known)}: {', '.join(known)}" if known else "the settings have none"
        raise click.UsageError(f"Say which account with --account ({there}).")

    def find_account_name(self, name: str | None) -> str:
        """Return the same account's name; also `unrouted`, where messages that name no account are kept."""
        return self.settings.inbox_name(name) if name else self.find_account(None).name

    def find_default_account(self, name: str | None) -> str:
        """Return the account of changes that name none; empty with several accounts, so that each must."""
        return "" if not name and len(self.settings.accounts) > 1 else self.find_account(name).name

    def answer(self, document: Any, lines: Iterable[str]) -> None:
        """Print the document with `--json`, else the lines."""
        if self.as_json:
            output.print_document(document)
        else:
            output.print_lines(lines)

    def answer_table(
        self, document: Any, heads: Sequence[str], rows: Iterable[Sequence[object]], *, cursor: str = ""
    ) -> None:
        """Print the document with `--json`, else a table; `cursor` is where the next page begins."""
        if self.as_json:
            output.print_document(document)
            return
        output.print_table(heads, list(rows))
        if cursor:
            self.remark(f"more with --cursor {cursor}")

    def remark(self, text: str) -> None:
        """Print a line for people on stderr; nothing with `--json`."""
        if not self.as_json:
            click.echo(text, err=True)


class EventPrinter:
    """Prints events of the runtime as notes on stderr, but the same one only once.

    A warning about a type comes with every line of a file that names it.
    """

    def __init__(self) -> None:
        self._printed = set[str]()

    def __call__(self, event: str, /, **fields: object) -> None:
        """Print the event, unless it was printed before or the command reports it itself."""
        line = " ".join(["note:", event, *(f"{key}={value}" for key, value in fields.items())])
        if event not in UNPRINTED_EVENTS and line not in self._printed:
            self._printed.add(line)
            click.echo(line, err=True)


def print_note(text: str) -> None:
    """Print a note on stderr, with `--json` too."""
    click.echo(f"note: {text}", err=True)


def with_context(function: Function) -> Function:
    """Give a command its context as first argument, and the option `--json`."""

    @wraps(function)
    def run(*args: Any, as_json: bool, **options: Any) -> Any:
        context = click.get_current_context().ensure_object(CommandContext)
        context.as_json = as_json
        return function(context, *args, **options)

    return click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")(run)  # type: ignore[return-value]


def account_option(function: Function) -> Function:
    """Add the option `--account`."""
    return click.option(
        "--account",
        metavar="NAME",
        callback=check_account_names,
        help="Which account; needed only when the settings have several.",
    )(function)


def check_length(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
    """Return what an operator says of an act; raise BadParameter if it is too long to be kept."""
    if len(given) > MAX_NOTE:
        raise click.BadParameter(f"expected at most {MAX_NOTE} characters, got {len(given)}")
    return given


def check_account_names(_context: click.Context, _parameter: click.Parameter, given: Any) -> Any:
    """Return the account or the accounts of an option or argument; raise BadParameter for no good name."""
    for name in given if isinstance(given, tuple) else filter(None, [given]):
        if reason := explain_account_name(name):
            raise click.BadParameter(reason)
    return given
