"""Groups of commands, and the options that may stand before a command as well as behind it."""

from typing import Any, Final

import click

from ops.cli.context import check_url


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
