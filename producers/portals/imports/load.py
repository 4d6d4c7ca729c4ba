"""Rows handed over piece by piece: each becomes a change under an event id of its file and line, or is rejected with its faults.

What a piece is refused for costs only the lines that are named: they are taken out, and the rest is handed over again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from producers.portals.imports.reader import Row
from producers.portals.sdk.protocol import Sent
from worker.contract import TYPES, Change, ParsedChange, Relation, from_message, limit_faults
from worker.errors import Fault, Invalid, InvalidChange

AT_ONCE: Final = 1000  # lines in memory at once
SOURCE: Final = "cli"  # as `relations send`, so that the same file is the same jobs

PAIRS: Final = 200_000  # relations whose reverse is looked for
SAME_KIND: Final = frozenset(name for name, known in TYPES.items() if known.parent == known.child)

Refusals = dict[int, list[Fault]]
Reject = Callable[[Row, Sequence[Fault]], None]


class SendRows(Protocol):
    """Accepts changes of one account, as `Relations.send` does."""

    def __call__(self, changes: Sequence[Change], /) -> Sequence[Sent]:
        """All of them, or InvalidChange with faults by position."""


class Given(NamedTuple):
    """What is said of every line that does not say it by itself; `digest` begins its event id."""

    digest: str
    account: str
    batch: str


class Item(NamedTuple):
    """A row that is a change, and what was corrected on the way to it."""

    row: Row
    change: Change
    notes: tuple[str, ...]


@dataclass(slots=True)
class LoadCounts:
    """How far an import is; `notes` are what was corrected, how often."""

    line: int = 0
    accepted: int = 0
    known: int = 0
    rejected: int = 0
    notes: dict[str, int] = field(default_factory=dict)


def pieces(rows: Iterable[Row], given: Given, tally: LoadCounts, reject: Reject) -> Iterator[list[Item]]:
    """The good rows, so many at a time; the others are rejected, and `tally` counts along. Raises Invalid when there is no row at all."""
    rest, seen = iter(rows), dict[Relation, int]()
    while piece := list(islice(rest, AT_ONCE)):
        items = [item for row in piece if (item := _item(row, given, tally, reject))]
        tally.line = piece[-1].line
        yield _without(items, _contradicting(items, seen), tally, reject)
    if not tally.line:
        raise Invalid([Fault("", "expected at least one change, got nothing")])


def load_rows(
    rows: Iterable[Row], given: Given, send: SendRows, reject: Reject, tally: LoadCounts
) -> Iterator[None]:
    """Hand all rows over, piece by piece; `tally` counts along."""
    for items in pieces(rows, given, tally, reject):
        by_account: dict[str, list[Item]] = {}
        for item in items:
            by_account.setdefault(item.change.account, []).append(item)
        for part in by_account.values():
            _hand(part, send, tally, reject)
        yield


def _item(row: Row, given: Given, tally: LoadCounts, reject: Reject) -> Item | None:
    parsed, faults = _parsed(row, given)
    if faults or not parsed:
        _rejected(row, faults, tally, reject)
        return None
    for note in parsed.notes:
        tally.notes[note] = tally.notes.get(note, 0) + 1
    return Item(row, parsed.change, parsed.notes)


def _parsed(row: Row, given: Given) -> tuple[ParsedChange | None, Sequence[Fault]]:
    """The change, or all that is wrong: with the cells, and with what they say together."""
    if row.message is None:
        return None, row.faults
    try:
        return from_message(_completed(row.message, row.line, given)), row.faults
    except InvalidChange as error:
        named = {fault.path for fault in row.faults}
        return None, [*row.faults, *(fault for fault in error.faults if fault.path not in named)]


def _completed(message: Mapping[str, Any], line: int, given: Given) -> dict[str, Any]:
    made = {"event_id": f"{given.digest}:{line}", "source": SOURCE, "batch": given.batch}
    return {**({"account": given.account} if given.account else {}), **made, **message}


def _hand(items: list[Item], send: SendRows, tally: LoadCounts, reject: Reject) -> None:
    """Hand over one account's part, without those that are refused, until it is accepted or nothing is left."""
    while items:
        try:
            sent = send([item.change for item in items])
        except InvalidChange as error:
            if not (refused := error.by_position()):
                raise
            items = _without(items, refused, tally, reject)
            continue
        known = sum(each.duplicate for each in sent)
        tally.accepted, tally.known = tally.accepted + len(sent) - known, tally.known + known
        return


def _contradicting(items: Sequence[Item], seen: dict[Relation, int]) -> Refusals:
    """Lines that make two records of one kind each the other's parent: one must be wrong, and nobody knows which.

    Of two lines in one piece neither is accepted; a line of an earlier piece is gone already. `seen` tells the lines of all.
    """
    refused: Refusals = {}
    here = {item.row.line: at for at, item in enumerate(items)}
    for at, item in enumerate(items):
        for relation in _directed(item.change):
            if len(seen) < PAIRS:
                seen.setdefault(relation, item.row.line)
            if other := seen.get(Relation(relation.type, relation.child, relation.parent)):
                refused[here.get(other, at)] = [_contrary(item.row.line)]
                refused[at] = [_contrary(other)]
    return refused


def _directed(change: Change) -> Sequence[Relation]:
    """The relations that must not be made the other way round too."""
    if change.action != "create" or change.type not in SAME_KIND:
        return ()
    return [relation for relation in change.relations if relation.parent != relation.child]


def _contrary(line: int) -> Fault:
    return Fault("", f"line {line} names the same two ids the other way round; one of them must be wrong")


def _without(items: list[Item], refused: Refusals, tally: LoadCounts, reject: Reject) -> list[Item]:
    """Those that were not refused; the others are rejected."""
    for at, found in refused.items():
        _rejected(items[at].row, found, tally, reject)
    return [item for at, item in enumerate(items) if at not in refused]


def _rejected(row: Row, faults: Sequence[Fault], tally: LoadCounts, reject: Reject) -> None:
    tally.rejected += row.lines
    reject(row, limit_faults(faults))
