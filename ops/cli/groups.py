"""Groups of commands, and the options that may stand before a command as well as behind it."""

from typing import Any, Final

import click

from ops.cli.context import check_url


class CommandGroup(click.Group):
    """A group of commands, before whose names `--json` and `--url` may stand, as people are used to."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options of the group."""
        return [*super().get_params(ctx), *OPTIONS]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before the command; what only commands have is told where to stand."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities:
                raise
            where = f"If a command has it, write it behind: {ctx.command_path} COMMAND {error.option_name}"
            raise click.UsageError(f"{error.format_message()} {where}", ctx) from None


CommandGroup.group_class = CommandGroup  # of the groups in it


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep an option for the command, which takes what stands behind it first."""
    if value:
        context.meta[str(parameter.name)] = value


def _remember_url(context: click.Context, parameter: click.Parameter, given: str | None) -> None:
    _remember(context, parameter, check_url(context, parameter, given))


OPTIONS: Final = (
    click.Option(["--json", "as_json"], is_flag=True, hidden=True, expose_value=False, callback=_remember),
    click.Option(["--url"], hidden=True, expose_value=False, callback=_remember_url),
)
