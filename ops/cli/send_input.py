"""What `relations send` reads: words of a command line or NDJSON, as changes that know their place.

No output and no store here; the faults of a file are all named before anything is sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from io import BytesIO, TextIOWrapper
from typing import Any, NamedTuple

from producers.portals.imports import RowDefaults, read_ndjson
from producers.portals.imports.load import SOURCE
from worker.contract import MAX_FAULTS, Change, from_message
from worker.contract.reference import read_records
from worker.errors import Fault, InvalidChange


class SendEntry(NamedTuple):
    """A change, and its place for error messages: `line 4`, or nothing for a single change."""

    where: str
    change: Change
    notes: tuple[str, ...] = ()


def from_words(words: Sequence[str], account: str, more: Mapping[str, Any]) -> list[SendEntry]:
    """Return one change of `ACTION TYPE PARENT CHILD…`; records of either side may be joined by commas."""
    action, name, parent, *children = words
    message = {
        "account": account,
        "action": action,
        "relationtype": name,
        "parentid": _records([parent]),
        "childid": _records(children),
        "source": SOURCE,
        **{key: value for key, value in more.items() if value},
    }
    change, notes = _read(message, "")
    return [SendEntry("", change, notes)]


def from_lines(content: bytes, account: str, *, name: str = "") -> list[SendEntry]:
    """Return the changes of NDJSON; a line without an account is for `account`.

    A line without an event id gets one of content and number, so the same file again is the same jobs.
    Raises InvalidChange with the faults of all lines; `name` leads their places.
    """
    defaults = RowDefaults(sha256(content).hexdigest()[:16], account)
    text = TextIOWrapper(BytesIO(content), "utf-8", errors="surrogateescape", newline="\n")
    entries, faults = list[SendEntry](), list[Fault]()
    for row in read_ndjson(text):
        where = f"{name} line {row.line}".strip()
        if row.message is None:
            faults += InvalidChange(row.faults).at(where).faults
            continue
        try:
            change, notes = _read(defaults.complete(row), where)
            entries.append(SendEntry(where, change, notes))
        except InvalidChange as error:
            faults += error.faults
    if faults or not entries:
        raise InvalidChange(cap_faults(faults) or [Fault("", "expected one change per line, got nothing")])
    return entries


def _read(message: object, where: str) -> tuple[Change, tuple[str, ...]]:
    parsed = from_message(message, where)
    return parsed.change, parsed.notes


def _records(words: Iterable[str]) -> int | str | list[int | str]:
    """Return numbers as numbers; what is none, nor a reference, stays as it is, to be named as a fault."""
    records = [record for word in words for record in read_records(word)]
    return records[0] if len(records) == 1 else records


def cap_faults(faults: Sequence[Fault]) -> list[Fault]:
    """Return the first faults, and how many more there are."""
    rest = len(faults) - MAX_FAULTS
    return [*faults[:MAX_FAULTS], *([Fault("", f"and {rest:,} more")] if rest > 0 else [])]
