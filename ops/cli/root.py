"""The root of the command line, to which each command adds itself, and what may stand before a command."""

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final

import click

from ops.cli import commands
from ops.cli.context import CommandContext, check_url
from ops.cli.errors import Exit, find_exit_code, print_document, print_error
from ops.cli.output import safe_streams
from worker.contract.quoting import quote
from worker.errors import RelationsError


class OnceCommand(click.Command):
    """A command whose options each stand once on its line, but for those that may be given several times."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the line; raise UsageError for an option that stands twice: the last one would win."""
        given = [*args]
        rest = super().parse_args(ctx, args)
        _check_once(self, ctx, given)
        return rest


class CommandGroup(click.Group):
    """A group of commands, before whose names `--json` and `--url` may stand, as people are used to."""

    command_class = OnceCommand

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options of the group."""
        return [*super().get_params(ctx), *OPTIONS]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before the command; what only commands have is told where to stand."""
        given = [*args]
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities:
                raise
            where = f"If a command has it, write it behind: {ctx.command_path} COMMAND {error.option_name}"
            raise click.UsageError(f"{error.format_message()} {where}", ctx) from None
        _check_once(self, ctx, given)
        return rest


CommandGroup.group_class = CommandGroup  # of the groups in it


def _check_once(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    if ctx.resilient_parsing:
        return
    _, _, given = command.make_parser(ctx).parse_args(args)
    for number, option in enumerate(given):
        may_repeat = not isinstance(option, click.Option) or option.multiple or option.count or option.is_flag
        if not may_repeat and option in given[:number]:
            raise click.UsageError(f"{option.opts[0]} is given twice; which one counts?", ctx)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep an option for the command, which takes what stands behind it first."""
    if value:
        context.meta[str(parameter.name)] = value


OPTIONS: Final = (
    click.Option(["--json", "as_json"], is_flag=True, hidden=True, expose_value=False, callback=_remember),
    click.Option(["--url"], type=check_url, hidden=True, expose_value=False, callback=_remember),
)


def may_colour() -> bool | None:
    """Return False where a terminal is to have no colours (https://no-color.org), None where it decides."""
    refused = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return False if refused else None


class RootGroup(CommandGroup):
    """The root command: turns what a command raises into one message on stderr and an exit code.

    Only the command that is run is imported: what stands in the modules whose names begin with its own.
    """

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of all commands, which are the first words of their modules."""
        return sorted({_name_command(module) for module in _list_modules()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, imported now; if there is none, all are, of which one is meant."""
        for module in _list_modules(cmd_name) or _list_modules():
            import_module(module)
        return super().get_command(ctx, cmd_name)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program; whatever it prints, a terminal can be trusted with."""
        with safe_streams():
            try:
                return super().main(*args, **options)
            except RelationsError as error:  # of the help, which is printed before there is a command
                click.echo(str(error), err=True)
                sys.exit(Exit.FAILED)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse what stands before the command; `--json` holds for what is wrong with the line, too."""
        as_json = "--json" in args[: args.index("--")] if "--" in args else "--json" in args
        try:
            arguments = list(map(_read_argument, args))
            ctx = super().make_context(info_name, arguments, parent, color=may_colour(), **extra)
        except click.UsageError as error:
            if not as_json:
                raise
            print_document("UsageError", error.format_message())
            sys.exit(Exit.USAGE)
        except KeyboardInterrupt:
            sys.exit(Exit.INTERRUPTED)
        ctx.ensure_object(CommandContext).as_json = as_json
        return ctx

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of ours end it here, all others are bugs and keep their traceback."""
        context = ctx.ensure_object(CommandContext)
        try:
            return super().invoke(ctx)
        except RelationsError as error:
            print_error(error, context)
            ctx.exit(find_exit_code(error))
        except click.ClickException as error:
            if not context.as_json:
                raise
            print_document("UsageError", error.format_message())
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)


@click.group(
    cls=RootGroup,
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


def _read_argument(argument: str) -> str:
    """Return an argument as UTF-8, whatever the locale; only the name of a file may be no text."""
    if argument.isprintable():
        return argument
    with suppress(UnicodeDecodeError):
        return os.fsencode(argument).decode()
    with suppress(OSError):  # too long for a name
        Path(argument).stat()
        return argument
    raise click.UsageError(f"{quote(argument)} is no text in UTF-8.")


def _list_modules(command: str = "") -> list[str]:
    """Return the modules of a command, by default of all."""
    names = [module.name for module in iter_modules(commands.__path__, f"{commands.__name__}.")]
    return [name for name in names if command in ("", _name_command(name))]


def _name_command(module: str) -> str:
    return module.rpartition(".")[2].partition("_")[0]
