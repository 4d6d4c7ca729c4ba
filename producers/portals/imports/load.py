"""Sends rows as changes, piece by piece; a row that makes no valid change is rejected with its faults.

When a piece is refused, only the rows that the refusal names are rejected, and the others are sent again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from producers.portals.imports.lines import InputRow, RowKey
from producers.portals.sdk.protocol import Sent
from worker.contract import TYPES, Change, Relation, from_message, limit_faults
from worker.errors import Fault, Invalid, InvalidChange

PIECE: Final = 1000  # rows in memory at once
SOURCE: Final = (
    "cli"  # of rows that name none, for `send` and `import`, so that the same file is the same jobs
)
MAX_PAIRS: Final = 200_000  # relations whose reverse is looked for
SYMMETRIC_TYPES: Final = frozenset(name for name, known in TYPES.items() if known.parent == known.child)
"""The relation types whose parents and children are records of the same module."""

Refusals = dict[int, list[Fault]]
"""Why rows of a piece are refused, by their position."""
Reject = Callable[[InputRow, Sequence[Fault]], None]
SendPiece = Callable[[Sequence[Change]], Sequence[Sent]]
"""Accepts changes of one account as `Relations.send` does: all, or InvalidChange by `[3].childid`."""


class RowDefaults(NamedTuple):
    """The fields of rows that leave them out; the file's `digest` and the line make the event id."""

    digest: str
    account: str = ""
    batch: str = ""

    def complete(self, row: InputRow) -> dict[str, Any]:
        """Return the row's message with the defaults for what it leaves out."""
        defaults = {
            "account": self.account,
            "event_id": f"{self.digest}:{row.line}{(row.part and f'.{row.part}') or ''}",
            "source": SOURCE,
            "batch": self.batch,
        }
        return {**{name: value for name, value in defaults.items() if value}, **(row.message or {})}


class ParsedRow(NamedTuple):
    """A row that is a valid change."""

    row: InputRow
    change: Change


@dataclass(slots=True)
class LoadCounts:
    """The progress of an import: the last line that was read, and what became of the rows.

    `known` rows were accepted before; `notes` counts what was corrected in rows.
    """

    line: int = 0
    accepted: int = 0
    known: int = 0
    rejected: int = 0
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowLoader:
    """Parses and sends the rows of one file; calls `reject` for the others, and counts."""

    defaults: RowDefaults
    reject: Reject
    counts: LoadCounts

    def load(self, rows: Iterable[InputRow], send: SendPiece) -> Iterator[None]:
        """Send all rows, and yield after each piece."""
        for piece in self.parse(rows):
            by_account: dict[str, list[ParsedRow]] = {}
            for parsed in piece:
                by_account.setdefault(parsed.change.account, []).append(parsed)
            for part in by_account.values():
                self._send(part, send)
            yield

    def parse(self, rows: Iterable[InputRow]) -> Iterator[list[ParsedRow]]:
        """Yield the valid rows, a piece at a time; raises Invalid if there is no row at all."""
        rest, lines = iter(rows), dict[Relation, RowKey]()
        while piece := list(islice(rest, PIECE)):
            parsed = [valid for row in piece if (valid := self._parse(row))]
            self.counts.line = piece[-1].line
            yield self._remove_refused(parsed, _find_contradictions(parsed, lines))
        if not self.counts.line:
            raise Invalid([Fault("", "expected at least one change, got nothing")])

    def _parse(self, row: InputRow) -> ParsedRow | None:
        """Return the row as a change, or reject it with the faults of its cells and of the change."""
        parsed, faults = None, list(row.faults)
        if row.message is not None:
            try:
                parsed = from_message(self.defaults.complete(row))
            except InvalidChange as error:
                known = {fault.path for fault in row.faults}
                faults += [fault for fault in error.faults if fault.path not in known]
        if faults or parsed is None:
            self._reject(row, faults)
            return None
        for note in parsed.notes:
            self.counts.notes[note] = self.counts.notes.get(note, 0) + 1
        return ParsedRow(row, parsed.change)

    def _send(self, rows: list[ParsedRow], send: SendPiece) -> None:
        """Send one account's rows, without those that are refused, until the rest is accepted."""
        while rows:
            try:
                sent = send([parsed.change for parsed in rows])
            except InvalidChange as error:
                if not (refusals := error.by_position()):
                    raise
                rows = self._remove_refused(rows, refusals)
                continue
            known = sum(answer.duplicate for answer in sent)
            self.counts.accepted += len(sent) - known
            self.counts.known += known
            return

    def _remove_refused(self, rows: list[ParsedRow], refusals: Refusals) -> list[ParsedRow]:
        """Reject the refused rows and return the others."""
        for position, faults in refusals.items():
            self._reject(rows[position].row, faults)
        return [parsed for position, parsed in enumerate(rows) if position not in refusals]

    def _reject(self, row: InputRow, faults: Sequence[Fault]) -> None:
        self.counts.rejected += row.lines
        self.reject(row, limit_faults(faults))


def _find_contradictions(rows: Sequence[ParsedRow], lines: dict[Relation, RowKey]) -> Refusals:
    """Refuse rows that make each of two records the parent of the other, since one must be wrong.

    If both rows are in this piece, both are refused; a row of an earlier piece is sent already. `lines`
    collects the row of each relation over all pieces.
    """
    refusals: Refusals = {}
    positions = {parsed.row.key: position for position, parsed in enumerate(rows)}
    for position, (row, change) in enumerate(rows):
        for relation in _one_way_relations(change):
            if len(lines) < MAX_PAIRS:
                lines.setdefault(relation, row.key)
            if other := lines.get(Relation(relation.type, relation.child, relation.parent)):
                refusals[positions.get(other, position)] = [_explain_contradiction(row.line)]
                refusals[position] = [_explain_contradiction(other[0])]
    return refusals


def _one_way_relations(change: Change) -> Sequence[Relation]:
    """Return the relations that contradict their reverse."""
    if change.action != "create" or change.type not in SYMMETRIC_TYPES:
        return ()
    return [relation for relation in change.relations if relation.parent != relation.child]


def _explain_contradiction(line: int) -> Fault:
    return Fault("", f"line {line} names the same two ids the other way round; one of them must be wrong")
