"""What an import would cost: its changes planned batch by batch, as flushes would take them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ops.cli.offline_rules import OfflineRules
from ops.explain.dry_run import dry_run_changes, number_messages
from worker.contract import Change


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
