"""Times without an offset, as spreadsheets and people write them, of a time zone that the caller names."""

import re
from contextlib import suppress
from typing import Final
from zoneinfo import ZoneInfo

from producers.portals.imports.lines import InputRow
from worker.contract.instant import read_local
from worker.contract.quoting import quote
from worker.errors import Fault, Invalid

FIELD: Final = "occurred_at"
OFFSET: Final = re.compile("(Z|[+-][0-9]{2}:?[0-9]{2})$", re.IGNORECASE)


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name, such as Europe/Berlin; raises Invalid."""
    with suppress(KeyError, OSError, ValueError):  # no such zone, or no name of one
        return ZoneInfo(name)
    raise Invalid([Fault("", f"there is no time zone {quote(name)}; there are Europe/Berlin and others")])


def write_offset(row: InputRow, zone: ZoneInfo | None) -> InputRow:
    """Return the row with the offset of its time in the zone, or with the fault that it has none."""
    text = row.message.get(FIELD) if row.message else None
    if not isinstance(text, str) or OFFSET.search(text):  # nearly always it has one
        return row
    if (moment := read_local(text)) is None:
        return row
    if zone is None:
        hint = "write it as 2026-11-21T03:00:00+01:00, or say its zone with --time-zone Europe/Berlin"
        return _add_fault(row, f"{quote(text)} has no offset; {hint}")
    local = moment.replace(tzinfo=zone)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        return _add_fault(row, f"{quote(text)} is no time in {zone}, or two: clocks change; write its offset")
    return row._replace(message={**(row.message or {}), FIELD: local.isoformat()})


def _add_fault(row: InputRow, message: str) -> InputRow:
    return row._replace(faults=[*row.faults, Fault(FIELD, message)])
