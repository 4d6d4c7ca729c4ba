"""What `relations send` reads, changes that know their place; how it hands them over; what became of each.

No output here; the faults of a file are all named before anything is sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from io import BytesIO, TextIOWrapper
from itertools import islice
from typing import Any, Final, NamedTuple

from producers.portals.imports import RowDefaults, detect_format, read_ndjson
from producers.portals.imports.load import SOURCE
from worker.contract import MAX_FAULTS, Change, from_message
from worker.contract.reference import read_records
from worker.errors import Fault, InvalidChange, RelationsError, StoreUnavailable
from worker.ports.store import Receipt
from worker.usecases.intake import AccountResult

AT_ONCE: Final = 1000  # changes per round trip

Accept = Callable[[Sequence[Change]], Iterable[AccountResult]]


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


def from_lines(content: bytes, account: str, *, name: str = "", encoding: str = "") -> list[SendEntry]:
    """Return the changes of NDJSON; a line without an account is for `account`.

    A line without an event id gets one of content and number, so the same file again is the same jobs; one
    that is read in another `encoding` is another file. Raises InvalidChange with the faults of all lines;
    `name` leads their places.
    """
    defaults = RowDefaults(sha256(content + encoding.encode()).hexdigest()[:16], account)
    if encoding or b"\0" in content:  # as PowerShell's `>` writes it, or no text at all
        encoding = detect_format(BytesIO(content), encoding).encoding
    text = TextIOWrapper(BytesIO(content), encoding or "utf-8-sig", errors="surrogateescape", newline="\n")
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


class SendDelivery(NamedTuple):
    """The jobs of what was accepted, in order, and every reason why something was not."""

    jobs: Sequence[Receipt]
    errors: Sequence[RelationsError]

    def to_json(self) -> dict[str, Any]:
        """Return the jobs as the HTTP interface answers them."""
        jobs = [{"id": job.job, "state": "queued", "duplicate": job.duplicate} for job in self.jobs]
        return {"jobs": jobs}


def deliver(accept: Accept, entries: Sequence[SendEntry]) -> SendDelivery:
    """Send the entries in order and in bounded pieces, until the store is gone.

    An account's part of a piece is accepted as a whole or not at all.
    """
    jobs, errors = list[Receipt](), list[RelationsError]()
    for piece in _split(entries):
        delivery = _deliver_piece(accept, piece)
        jobs += delivery.jobs
        errors += delivery.errors
        if any(isinstance(error, StoreUnavailable) for error in delivery.errors):
            break
    return SendDelivery(jobs, errors)


def _split(entries: Sequence[SendEntry]) -> Iterator[Sequence[SendEntry]]:
    rest = iter(entries)
    while piece := list(islice(rest, AT_ONCE)):
        yield piece


def _deliver_piece(accept: Accept, piece: Sequence[SendEntry]) -> SendDelivery:
    jobs, errors = dict[int, Receipt](), list[RelationsError]()
    for result in accept([entry.change for entry in piece]):
        if isinstance(result.error, InvalidChange):
            moved = result.error.moved(lambda position: piece[position].where)
            errors.append(InvalidChange(cap_faults(moved.faults)))
        elif result.error:
            errors.append(result.error)
        jobs |= zip(result.positions, result.receipts, strict=False)
    return SendDelivery([job for _, job in sorted(jobs.items())], errors)
