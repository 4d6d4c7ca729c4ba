"""What became of an import, told: in sentences, as a document, and as an exit code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ops.cli.errors import Exit
from producers.portals.imports import LoadCounts
from producers.portals.serializers import BatchDict


class ImportSummary(NamedTuple):
    """What became of the lines and, when their jobs are followed, of those; `ends` changes while it is waited for."""

    tally: LoadCounts
    batch: str
    rejects: Path
    ends: list[BatchDict]

    def counts(self) -> str:
        """What became of the lines, and the label to ask for."""
        tally = self.tally
        label = (
            f"batch {self.batch}"
            if tally.accepted or not tally.known
            else "those keep the label of their first import"
        )
        return f"{tally.accepted:,} accepted, {tally.known:,} known already, {tally.rejected:,} rejected; {label}"

    def lines(self) -> Iterator[str]:
        """For people."""
        for note, number in self.tally.notes.items():
            yield f"note: {note} ({number:,} lines)"
        yield self.counts()
        if self.tally.rejected:
            yield f"Rejected lines, each with its reason: {self.rejects}"
        yield from map(_line, self.ends)

    def document(self) -> dict[str, Any]:
        """For programs."""
        tally = self.tally
        return {
            "accepted": tally.accepted,
            "known": tally.known,
            "rejected": tally.rejected,
            "batch": self.batch,
            "rejects": str(self.rejects) if tally.rejected else None,
            "batches": self.ends,
        }

    def code(self) -> Exit:
        """Whether all is well."""
        if self.tally.rejected and not self.tally.accepted + self.tally.known:
            return Exit.FAILED
        return Exit.PARTLY if self.tally.rejected or any(each["failed"] for each in self.ends) else Exit.OK


def _line(end: BatchDict) -> str:
    states = f"{end['succeeded']:,} succeeded, {end['superseded']:,} superseded, {end['failed']:,} failed"
    return f"{end['batch'] or 'without a label'}: {states}" + (
        f", {end['open']:,} open" if end["open"] else ""
    )
