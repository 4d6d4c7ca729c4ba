"""What the options of an import mean: which columns are which fields, and what holds for every line."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import click

from ops.cli.context import CommandContext
from ops.cli.pairs import check_once, split_pairs
from producers.portals.imports import FIELDS, TableOptions, check_values, find_encoding, find_field, find_zone
from worker.errors import Invalid


class ImportOptions(NamedTuple):
    """How a file is understood; `account` is that of lines that name none, empty if every line must.

    `zone` is that of times without an offset; without one, such a line is rejected.
    """

    table: TableOptions
    account: str
    batch: str | None
    sheet: str
    encoding: str
    zone: ZoneInfo | None = None


def _check_encoding(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    try:
        return find_encoding(name) if name else ""
    except Invalid as error:
        raise click.BadParameter(str(error)) from None


encoding_option: Final = click.option(  # the command gets the name that Python has for it
    "--encoding",
    metavar="NAME",
    default="",
    callback=_check_encoding,
    help="Of the text, such as mac_roman, cp850 or cp437; default: it is found out.",
)


def parse_options(
    context: CommandContext,
    *,
    maps: Sequence[str],
    sets: Sequence[str],
    account: str | None,
    batch: str | None,
    header_row: int | None,
    has_index: bool,
    sheet: str,
    encoding: str,
    time_zone: str,
    is_local: bool,
) -> ImportOptions:
    """Parse and check the options; raises UsageError for a value that no line could have.

    Accounts of another machine are not checked here.
    """
    mapping = {column: _find_field("--map", name) for column, name in split_pairs("--map", maps).items()}
    pairs = [(_find_field("--set", name), value) for name, value in split_pairs("--set", sets).items()]
    check_once("--set", (field for field, _ in pairs))
    constants = dict(pairs)
    account = constants.get("account") or account
    default = context.find_default_account(account) if is_local else account or ""
    faults = [f"--set {fault}" for fault in check_values(constants)]
    for name, value in {"account": default or None, "batch": batch}.items():
        if value is not None:
            faults += [f"--{name}: {fault.message}" for fault in check_values({name: value})]
    if faults:
        raise click.UsageError("\n".join(faults))
    table = TableOptions(mapping, constants, header_row=header_row or 0, has_index=has_index)
    return ImportOptions(table, default, batch, sheet, encoding, _find_zone(time_zone))


def _find_zone(name: str) -> ZoneInfo | None:
    try:
        return find_zone(name) if name else None
    except Invalid as error:
        raise click.UsageError(f"--time-zone: {error}.") from None


def _find_field(option: str, name: str) -> str:
    """Return the field of that name or alias; an empty name means none."""
    field = find_field(name)
    if name and not field:
        listed = f"{', '.join(FIELDS)}, or a record's own such as childid=address:email"
        raise click.UsageError(f"{option}: there is no field {name}; there are {listed}.")
    return field
