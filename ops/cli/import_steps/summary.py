"""The summary of an import: sentences, a document, and an exit code."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ops.cli.errors import Exit
from producers.portals.imports import LoadCounts
from producers.portals.serializers import BatchDict


class ImportSummary(NamedTuple):
    """What became of the lines and, where their jobs were followed, of their batches."""

    counts: LoadCounts
    label: str
    rejects: Path
    batches: Sequence[BatchDict] = ()

    def format_counts(self) -> str:
        """Return what became of the lines, and the label to ask for."""
        counts = self.counts
        numbers = (
            f"{counts.accepted:,} accepted, {counts.known:,} known already, {counts.rejected:,} rejected"
        )
        if counts.known and not counts.accepted:
            return f"{numbers}; those keep the label of their first import"
        return f"{numbers}; batch {self.label}"

    def format_lines(self) -> Iterator[str]:
        """Yield the summary for people."""
        for note, number in self.counts.notes.items():
            yield f"note: {note} ({number:,} lines)"
        yield self.format_counts()
        yield from self.format_rejects()
        yield from map(_format_batch, self.batches)

    def format_rejects(self) -> Iterator[str]:
        """Yield where the rejected lines are, if there are any."""
        if self.counts.rejected:
            yield f"Rejected lines, each with its reason: {self.rejects}"

    def to_json(self) -> dict[str, Any]:
        """Return the summary for programs."""
        counts = self.counts
        return {
            "accepted": counts.accepted,
            "known": counts.known,
            "rejected": counts.rejected,
            "batch": self.label,
            "rejects": str(self.rejects) if counts.rejected else None,
            "batches": list(self.batches),
        }

    def get_exit_code(self) -> Exit:
        """Return OK when every line was accepted and no job failed."""
        counts = self.counts
        if counts.rejected and not counts.accepted + counts.known:
            return Exit.FAILED
        has_failures = counts.rejected or any(batch["failed"] for batch in self.batches)
        return Exit.PARTLY if has_failures else Exit.OK


def _format_batch(batch: BatchDict) -> str:
    ends = ", ".join(f"{batch[state]:,} {state}" for state in ("succeeded", "superseded", "failed"))
    still_open = f", {batch['open']:,} open" if batch["open"] else ""
    return f"{batch['batch'] or 'without a label'}: {ends}{still_open}"
