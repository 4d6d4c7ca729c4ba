"""What `relations send` reads: words of a command line, NDJSON, or a sample, as changes that know where they stood.

No output and no store here; the faults of a file are all named before anything is sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from io import BytesIO, TextIOWrapper
from itertools import islice
from typing import Any, NamedTuple

from producers.portals.imports import RowDefaults, read_ndjson
from worker.contract import Change, from_message
from worker.errors import Fault, InvalidChange, RelationsError, StoreUnavailable
from worker.usecases.intake import Intake

AT_ONCE = 1000  # changes per round trip
NAMED = 100  # faults that are listed
SOURCE = "cli"  # of a change that names none


class Entry(NamedTuple):
    """A change, and what to call it when there is something wrong with it: `line 4`, or nothing."""

    where: str
    change: Change
    notes: tuple[str, ...] = ()


class Sent(NamedTuple):
    """What became of an entry: its job, and whether it existed before; or nothing, and then a fault says why."""

    entry: Entry
    job: str = ""
    duplicate: bool = False


class SendResult(NamedTuple):
    """What became of all, in order, and every reason why some were not accepted."""

    sent: tuple[Sent, ...]
    errors: tuple[RelationsError, ...]

    @property
    def accepted(self) -> list[Sent]:
        """Those with a job."""
        return [each for each in self.sent if each.job]


def from_words(words: Sequence[str], account: str, more: Mapping[str, Any]) -> list[Entry]:
    """One change of `ACTION TYPE PARENT CHILD…`; ids of either side may be joined by commas."""
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


def from_lines(content: bytes, account: str, *, name: str = "") -> list[Entry]:
    """Return the changes of NDJSON; a line without an account is for `account`.

    A line without an event id gets one of the file's content and its number, so that the same file sent again is
    the same jobs. Raises InvalidChange with the faults of all lines; `name` leads their paths.
    """
    defaults = RowDefaults(sha256(content).hexdigest()[:16], account)
    text = TextIOWrapper(BytesIO(content), "utf-8", errors="surrogateescape", newline="\n")
    entries, faults = list[Entry](), list[Fault]()
    for row in read_ndjson(text):
        where = f"{name} line {row.line}".strip()
        if row.message is None:
            faults += [fault._replace(path=where) for fault in row.faults]
            continue
        try:
            change, notes = _read(defaults.complete(row.line, row.message), where)
            entries.append(Entry(where, change, notes))
        except InvalidChange as error:
            faults += error.faults
    if faults or not entries:
        raise InvalidChange(_capped(faults) or [Fault("", "expected one change per line, got nothing")])
    return entries


def deliver(intake: Intake, entries: Sequence[Entry]) -> SendResult:
    """Hand the entries to the front door, in order and in bounded pieces; an account's part of a piece is accepted as a whole or not."""
    sent, errors = list[Sent](), list[RelationsError]()
    rest = iter(entries)
    while not _away(errors) and (piece := list(islice(rest, AT_ONCE))):
        _deliver(intake, piece, sent, errors)
    return SendResult(tuple(sent), tuple(errors))


def _away(errors: Sequence[RelationsError]) -> bool:
    """Whether the store went away: nothing more will be accepted now."""
    return any(isinstance(error, StoreUnavailable) for error in errors)


def _deliver(intake: Intake, piece: Sequence[Entry], sent: list[Sent], errors: list[RelationsError]) -> None:
    became = {at: Sent(entry) for at, entry in enumerate(piece)}
    for part in intake.accept_each([entry.change for entry in piece], path="{}"):
        if part.error:
            errors.append(_at_home(part.error, piece))
        for at, receipt in zip(part.positions, part.receipts, strict=False):
            became[at] = Sent(piece[at], receipt.job, receipt.duplicate)
    sent += became.values()


def _at_home(error: RelationsError, piece: Sequence[Entry]) -> RelationsError:
    """The error with the places of the file instead of positions."""
    if not isinstance(error, InvalidChange):
        return error
    faults = []
    for fault in error.faults:
        head, _, tail = fault.path.partition(".")
        where = piece[int(head)].where if head.isdecimal() else head
        faults.append(Fault(".".join(filter(None, (where, tail))), fault.message))
    return InvalidChange(_capped(faults))


def _read(message: object, where: str) -> tuple[Change, tuple[str, ...]]:
    parsed = from_message(message, where)
    return parsed.change, parsed.notes


def _ids(words: Iterable[str]) -> int | str | list[int | str]:
    """Numbers as numbers; what is none stays as it is, to be named as a fault."""
    ids: list[int | str] = [
        int(word) if word.isascii() and word.isdecimal() else word
        for text in words
        for word in text.split(",")
    ]
    return ids[0] if len(ids) == 1 else ids


def _capped(faults: Sequence[Fault]) -> list[Fault]:
    rest = len(faults) - NAMED
    return [*faults[:NAMED], *([Fault("", f"and {rest:,} more")] if rest > 0 else [])]


def public(sent: Sequence[Sent]) -> dict[str, Any]:
    """As the HTTP interface answers it."""
    return {
        "jobs": [
            {"id": each.job, "state": "queued", "duplicate": each.duplicate} for each in sent if each.job
        ]
    }
