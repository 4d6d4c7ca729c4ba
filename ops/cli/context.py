"""What every command works with: operations, the account in question, and how to answer.

With `--url` the operations are those of an HTTP interface; else of the settings and live objects here.

Nothing is read or connected before a command needs it, so that `--help` works with broken settings and
without Redis.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from ops.cli import output
from ops.explain.text import LOCAL, format_time
from producers.errors import Forbidden
from worker.config import Secret, Settings, Source, load_settings, working_folder
from worker.config.loader import FILE_VARIABLE
from worker.config.table import nearest
from worker.contract import explain_account_name
from worker.contract.message import UNROUTED
from worker.errors import NotFound

if TYPE_CHECKING:  # slow to import, and of use to commands on Redis only
    from ops.operations import Operations
    from worker.wakeups import TaskSender
    from worker.wiring import Runtime

Decorated = Callable[..., Any]

REDIS_TIMEOUT: Final = 5.0  # seconds that a person waits for a Redis that hangs
MAX_NOTE: Final = 200  # characters of a reason, and of a name
UNPRINTED_EVENTS: Final = frozenset({"replay.done", "drift.read", "request.done"})
"""What the command itself reports, and `relations requests` lists."""


class CommandContext:
    """The settings, live objects and output format of one command; click makes one for each run."""

    zone: Final = LOCAL  # of times in texts

    def __init__(self) -> None:
        self.as_json = False
        self.url = ""

    @cached_property
    def operations(self) -> "Operations":
        """What operators look up and do: over HTTP if a URL was given, else straight on Redis."""
        if self.url:
            from ops.operations.http import HttpOperations
            from ops.operations.http_calls import HttpCalls

            return HttpOperations(HttpCalls(self.url, self.read_key()), self.url, zone=self.zone)
        from ops.operations.local import make_operations

        return make_operations(self.runtime, send_replay=self.task_sender.start_replay, zone=self.zone)

    def read_key(self) -> str:
        """Return the key for the URL, which no command line shows; raises UsageError if there is none."""
        for variable, kind in (("RELATIONS_KEY", "env"), ("RELATIONS_KEY_FILE", "file")):
            if given := os.environ.get(variable, "").strip():
                reference = f"env:{variable}" if kind == "env" else f"file:{given}"
                return Secret(reference, environ=os.environ, folder=working_folder()).reveal()
        raise click.UsageError(
            "--url needs a key: set RELATIONS_KEY, or RELATIONS_KEY_FILE to the path of a file that holds it."
        )

    @cached_property
    def settings(self) -> Settings:
        """The settings of this environment and working directory, but for faulty sources.

        What a command needs of a secret that cannot be read, it misses when it uses it.
        """
        settings = load_settings(os.environ, working_folder(), spare=True)
        if not settings.file:
            print_note(next(text for text in settings.warnings if text.startswith(FILE_VARIABLE)))
        return settings

    def require_all_settings(self) -> None:
        """Raise InvalidSettings for any fault: of a command that serves whatever the settings hold."""
        load_settings(os.environ, working_folder())

    def list_sources(self) -> Mapping[str, Source]:
        """Return the webhook sources; raise InvalidSettings for any fault of the settings or their rules."""
        from producers.webhooks.mapping import check_rules

        self.require_all_settings()
        check_rules(self.settings)
        return self.settings.sources

    def find_source(self, name: str) -> Source:
        """Return one of them; raise NotFound."""
        sources = self.list_sources()
        if name not in sources:
            raise NotFound(f'there is no source "{name}"{nearest(name, sources)}')
        return sources[name]

    @cached_property
    def runtime(self) -> "Runtime":
        """The live objects; their events are printed as notes."""
        from worker.background import WakeupQueue
        from worker.redis.client import connect
        from worker.wiring import Runtime

        print_event = EventPrinter()
        wake = WakeupQueue(self.task_sender.wake, emit=print_event)
        client = connect(self.settings.redis_url, timeout=REDIS_TIMEOUT)
        return Runtime(self.settings, wake=wake, emit=print_event, client=client)

    @cached_property
    def task_sender(self) -> "TaskSender":
        """What sends messages to our tasks over the settings' broker."""
        from worker.wakeups import TaskSender

        return TaskSender(self.settings.broker_url, self.settings.prefix)

    def format_time(self, instant: str) -> str:
        """Return an instant of a document in the local time zone, to the second."""
        return format_time(instant, self.zone)

    def read_clock(self) -> int:
        """Return the time by which `2h ago` is counted, in µs since 1970: the store's, if it is here."""
        return self.operations.now()

    def account_names(self) -> Sequence[str]:
        """Return the accounts there are: of the key, or of the settings, which need no Redis."""
        return self.operations.account_names() if self.url else list(self.settings.accounts)

    def inbox_names(self) -> Sequence[str]:
        """Return the accounts there are, and `unrouted`, where messages that name no account are kept."""
        return self.operations.inbox_names() if self.url else [*self.settings.accounts, UNROUTED]

    def find_account(self, name: str | None) -> str:
        """Return that account's name, or that of the only one there is; raises NotFound."""
        if name:
            return self._check_name(name, self.account_names)
        known = sorted(self.account_names())
        if len(known) == 1:
            return known[0]
        owner = "the key" if self.url else "the settings"
        verb = "is for" if self.url else "have"
        there = f"{owner} {verb} {len(known)}: {', '.join(known)}" if known else f"{owner} {verb} none"
        raise click.UsageError(f"Say which account with --account ({there}).")

    def find_inbox(self, name: str | None) -> str:
        """Return that account's name, or that of the only one there is; also `unrouted`; raises NotFound."""
        return self._check_name(name, self.inbox_names) if name == UNROUTED else self.find_account(name)

    def find_default_account(self, name: str | None) -> str:
        """Return the account of changes that name none; empty with several accounts, so that each must."""
        return "" if not name and len(self.account_names()) > 1 else self.find_account(name)

    def _check_name(self, name: str, list_names: Callable[[], Sequence[str]]) -> str:
        try:
            known = list_names()
        except Forbidden:  # a key that may not read; the server says what the account may not
            return name
        if name not in known:
            raise NotFound(f'there is no account "{name}"{nearest(name, known)}')
        return name

    def answer(self, document: Any, lines: Iterable[str]) -> None:
        """Print the document with `--json`, else the lines."""
        if self.as_json:
            output.print_document(document)
        else:
            output.print_lines(lines)

    def answer_table(
        self, document: Mapping[str, Any], heads: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Print the document with `--json`, else a table, and where its next page begins."""
        if self.as_json:
            output.print_document(document)
            return
        output.print_table(heads, list(rows))
        if cursor := document.get("next"):
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


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep an option that every command has in its context; one on its line stands over one before it."""
    name = str(parameter.name)
    is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    setattr(context.ensure_object(CommandContext), name, value if is_given else context.meta.get(name, value))


def check_url(given: str) -> str:
    """Return the address of an HTTP interface, or ""; raise BadParameter for what is no address."""
    if given:
        from producers.portals.sdk.http_transport import explain_url  # which imports what speaks HTTP

        if reason := explain_url(given):
            raise click.BadParameter(reason)
    return given


_pass_context = click.make_pass_decorator(CommandContext, ensure=True)
_json_option = click.option(
    "--json", "as_json", is_flag=True, expose_value=False, callback=_remember, help="Answer as JSON."
)
_url_option = click.option(
    "--url",
    envvar="RELATIONS_URL",
    default="",
    metavar="URL",
    type=check_url,
    expose_value=False,
    callback=_remember,
    help="Of an HTTP interface to ask, with the key in RELATIONS_KEY, instead of Redis.",
)


def with_context(function: Decorated) -> Decorated:
    """Give a command its context as first argument, and the options `--url` and `--json`."""
    return _url_option(_json_option(_pass_context(function)))


def with_local_context(function: Decorated) -> Decorated:
    """Give a command that works on this machine only its context as first argument, and `--json`."""

    @wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        if os.environ.get("RELATIONS_URL"):
            command = click.get_current_context().command_path
            print_note(f"{command} looks at this machine only, not at RELATIONS_URL.")
        return function(*args, **options)

    return local_only(_json_option(_pass_context(run)))


def local_only(function: Decorated) -> Decorated:
    """Refuse `--url` for a command that works on this machine only, in one line."""

    def refuse(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value or context.meta.get(str(parameter.name)):
            raise click.UsageError(f"{context.command_path} works on this machine only: leave out --url.")

    return click.option("--url", hidden=True, expose_value=False, callback=refuse)(function)


def add_options(function: Decorated, options: Sequence[Callable[[Decorated], Decorated]]) -> Decorated:
    """Add these options, which help shows in this order."""
    for option in reversed(options):
        function = option(function)
    return function


def cursor_option(place: str, metavar: str) -> Callable[[Decorated], Decorated]:
    """Return what adds the option `--cursor`, for places of this pattern."""

    def check(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
        if given and not re.fullmatch(place, given):
            raise click.BadParameter("expected what the last page named")
        return given

    return click.option(
        "--cursor", metavar=metavar, default="", callback=check, help="Where the last page ended."
    )


def port_option(name: str, default: int, text: str) -> Callable[[Decorated], Decorated]:
    """Return what adds an option for a port of TCP."""
    return click.option(name, type=click.IntRange(0, 65535), default=default, show_default=True, help=text)


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


account_option: Final = click.option(
    "--account",
    metavar="NAME",
    callback=check_account_names,
    help="Which account; needed only where there are several.",
)
limit_option: Final = click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many."
)
