"""Times as people say them on a command line; without an offset they are local ones, as lists show them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, time, timedelta
from typing import Final

import click

from ops.cli.context import CommandContext
from worker.contract import read_instant, write_instant
from worker.contract.instant import read_local
from worker.contract.quoting import quote

UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}  # seconds
TIME_AGO: Final = re.compile(
    r"([0-9]{1,6}) ?(s|m|h|d|w|sec|min|(?:second|minute|hour|day|week)s?)( ago)?", re.IGNORECASE
)
DAYS_AGO: Final[Mapping[str, int]] = {"today": 0, "yesterday": 1}
EXPECTED: Final = (
    "expected a time, such as 2026-11-21T02:00:00Z, 2026-11-21, 21.11.2026 14:30 (local time), now, today, "
    "yesterday, or 90m, 2h, 3d, 1w ago"
)


def parse_time(text: str, option: str, context: CommandContext) -> str:
    """Return the instant that an option names, as the HTTP interface takes it; raises UsageError.

    `2h` is two hours ago by the store's clock; a day means its beginning.
    """
    for instant in (text.strip(), _read_ago(text.strip().lower(), context), *_read_local(text.strip())):
        with suppress(ValueError):
            read_instant(instant)
            return instant
    raise click.UsageError(f"{option}: {EXPECTED}; got {quote(text)}")


def _read_ago(word: str, context: CommandContext) -> str:
    """Return the instant that a word counts from now; empty if it says none."""
    if word == "now":
        return write_instant(context.read_clock())
    if ago := TIME_AGO.fullmatch(word):
        with suppress(OverflowError):  # before there were years
            return write_instant(context.read_clock() - int(ago[1]) * UNITS[ago[2][0]] * 1_000_000)
    if word in DAYS_AGO:
        today = datetime.fromtimestamp(context.read_clock() / 1e6).date()
        return _write_local(datetime.combine(today - timedelta(days=DAYS_AGO[word]), time()))
    return ""


def _read_local(text: str) -> Iterator[str]:
    """Yield the instant of a local day or time."""
    if moment := read_local(text):
        with suppress(ValueError, OverflowError):
            yield _write_local(moment)


def _write_local(moment: datetime) -> str:
    return moment.astimezone().isoformat()
