"""What an import would cost, planned batch by batch; and what became of it.

That is sentences, a document, and an exit code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ops.cli.errors import Exit
from ops.cli.offline_rules import OfflineRules
from ops.explain.dry_run import dry_run_changes, number_messages
from producers.portals.imports import LoadCounts
from producers.portals.serializers import BatchDict
from worker.contract import Change
from worker.ports.records import ENDED_STATES


@dataclass(slots=True)
class AccountCost:
    """What would be sent of one account, and how long that takes at its pace (seconds).

    Of changes whose records are `looked_up` first, only the reads for it are counted.
    """

    account: str
    changes: int = 0
    looked_up: int = 0
    actions: int = 0
    requests: int = 0
    seconds: float = 0.0


class CostEstimate:
    """Adds up what changes would cost; an upper bound, because larger batches save more.

    Holds at most one batch of changes per account.
    """

    def __init__(self, rules: OfflineRules) -> None:
        self._rules = rules
        self._costs, self._batches = dict[str, AccountCost](), dict[str, list[Change]]()

    def add(self, change: Change) -> None:
        """Check one more change and count it in; raises InvalidChange and NotFound."""
        self._rules.check(change)
        self._costs.setdefault(change.account, AccountCost(change.account))
        batch = self._batches.setdefault(change.account, [])
        batch.append(change)
        if len(batch) >= self._rules.find_account(change.account).max_batch:
            self._plan(self._batches.pop(change.account))

    def get_costs(self) -> list[AccountCost]:
        """Return the cost of each account; nothing can be added afterwards."""
        for batch in self._batches.values():
            self._plan(batch)
        for cost in self._costs.values():
            account = self._rules.find_account(cost.account)
            cost.seconds = max(0.0, (cost.requests - account.burst) / account.rate)
        return list(self._costs.values())

    def _plan(self, batch: Sequence[Change]) -> None:
        name = batch[0].account
        run = dry_run_changes(number_messages(batch), self._rules.get_policy(name))
        cost, look_ups = self._costs[name], run.look_ups
        cost.changes += len(batch)
        cost.looked_up += look_ups.changes
        cost.actions += run.plan.actions + look_ups.actions
        cost.requests += len(run.plan.requests) + look_ups.requests


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
    ends = ", ".join(f"{batch[state]:,} {state}" for state in ENDED_STATES)
    still_open = f", {batch['open']:,} open" if batch["open"] else ""
    return f"{batch['batch'] or 'without a label'}: {ends}{still_open}"
