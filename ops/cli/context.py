"""What every command works with: settings and runtime when first asked for, the account meant, and how to answer.

Nothing is read or connected before a command needs it, so that `--help` works with broken settings and without Redis.
"""

import os
from collections.abc import Callable, Iterable
from datetime import datetime, tzinfo
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ops.cli import output
from worker.background import MessageSender
from worker.config import Account, Settings, load_settings
from worker.redis.client import available
from worker.wiring import Runtime, Wake

if TYPE_CHECKING:
    from celery import Celery

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
        """The live objects; events that a person should know of are said on stderr."""
        made = Runtime(self.settings, wake=MessageSender(self.wake, emit=emit))
        made.emit = emit
        return made

    @cached_property
    def celery(self) -> "Celery":
        """A Celery application on the settings' broker."""
        from celery import Celery  # takes a third of a second, and most commands do without

        from worker.app import configure

        app = Celery("relations", set_as_current=False)
        configure(app, self.settings)
        return app

    @property
    def wake(self) -> Wake:
        """Sends a flush message, as every other producer does."""

        def send(account: str, seconds: float) -> None:
            self.celery.send_task(
                "relations.flush", [account], countdown=seconds or None, queue="relations.flush", retry=False
            )

        return send

    def hand(self, replay: str) -> None:
        """Give a replay to a worker; raises whatever the broker's client does."""
        self.celery.send_task("relations.replay", [replay], queue="relations.ops", retry=False)

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
        return self.settings.inbox_name(name) if name else self.account(None).name

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


TOLD: Final = frozenset({"replay.done"})


def emit(event: str, /, **fields: object) -> None:
    """An event of the runtime as a remark on stderr; what a command tells itself is left out."""
    if event in TOLD:
        return
    told = " ".join(f"{key}={value}" for key, value in fields.items())
    click.echo(f"note: {event} {told}", err=True)


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
