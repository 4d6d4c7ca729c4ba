"""What `relations send` reads: words of a command line or NDJSON, as changes that know their place.

No output and no store here; the faults of a file are all named before anything is sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from worker.contract import MAX_MESSAGE, Change, from_message
from worker.errors import Fault, InvalidChange

MAX_FAULTS = 100  # faults that are listed
SOURCE = "cli"  # of a change that names none


class Entry(NamedTuple):
    """A change, and its place for error messages: `line 4`, or nothing for a single change."""

    where: str
    change: Change
    notes: tuple[str, ...] = ()


def from_words(words: Sequence[str], account: str, more: Mapping[str, Any]) -> list[Entry]:
    """Return one change of `ACTION TYPE PARENT CHILD…`; ids of either side may be joined by commas."""
    action, name, parent, *children = words
    message = {
        "account": account,
        "action": action,
        "relationtype": name,
        "parentid": _ids([parent]),
        "childid": _ids(children),
        "source": SOURCE,
        **{key: value for key, value in more.items() if value},
    }
    change, notes = _read(message, "")
    return [Entry("", change, notes)]


def from_lines(text: bytes, account: str, *, name: str = "") -> list[Entry]:
    """Return the changes of NDJSON; a line without an account is for `account`.

    A line without an event id gets one of content and number, so the same file again is the same jobs.
    Raises InvalidChange with the faults of all lines; their paths begin with `name`.
    """
    digest, entries, faults = sha256(text).hexdigest()[:16], list[Entry](), list[Fault]()
    for number, line in enumerate(text.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{name} line {number}".strip()
        try:
            change, notes = _read(_completed(_decoded(line, where), account, f"{digest}:{number}"), where)
            entries.append(Entry(where, change, notes))
        except InvalidChange as error:
            faults += error.faults
    if faults or not entries:
        raise InvalidChange(cap_faults(faults) or [Fault("", "expected one change per line, got nothing")])
    return entries


def _read(message: object, where: str) -> tuple[Change, tuple[str, ...]]:
    parsed = from_message(message, where)
    return parsed.change, parsed.notes


def _decoded(line: bytes, where: str) -> object:
    if len(line) > MAX_MESSAGE:
        raise InvalidChange([Fault("", f"expected at most {MAX_MESSAGE} bytes, got {len(line)}", where)])
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidChange([Fault("", f"expected JSON: {error}", where)]) from None


def _completed(message: object, account: str, event_id: str) -> object:
    if not isinstance(message, dict):
        return message
    given = {key: value for key, value in message.items() if value is not None}
    return {**({"account": account} if account else {}), "event_id": event_id, "source": SOURCE, **given}


def _ids(words: Iterable[str]) -> int | str | list[int | str]:
    """Return numbers as numbers; what is none stays as it is, to be named as a fault."""
    ids: list[int | str] = [
        int(word) if word.isascii() and word.isdecimal() else word
        for text in words
        for word in text.split(",")
    ]
    return ids[0] if len(ids) == 1 else ids


def cap_faults(faults: Sequence[Fault]) -> list[Fault]:
    """Return the first faults, and how many more there are."""
    rest = len(faults) - MAX_FAULTS
    return [*faults[:MAX_FAULTS], *([Fault("", f"and {rest:,} more")] if rest > 0 else [])]
