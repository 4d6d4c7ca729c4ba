"""What an import would cost: its changes folded and planned batch by batch, as flushes would take them. Holds one batch per account."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ops.cli.desk import Desk
from ops.explain import rehearse
from worker.contract import Change
from worker.planner.plan import Limits


@dataclass(slots=True)
class Cost:
    """One account's share: what would be sent, and for how long at its pace (seconds)."""

    account: str
    changes: int = 0
    actions: int = 0
    requests: int = 0
    seconds: float = 0.0
    waiting: list[Change] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {name: value for name, value in asdict(self).items() if name != "waiting"}


class Rehearsal:
    """Takes changes, and knows what they would cost; an upper bound, because larger batches save more."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._costs = desk, dict[str, Cost]()

    def add(self, changes: Iterable[Change]) -> None:
        """More changes, in order."""
        for change in changes:
            cost = self._costs.setdefault(change.account, Cost(change.account))
            cost.waiting.append(change)
            if len(cost.waiting) >= self._desk.settings.account(change.account).max_batch:
                self._plan(cost)

    def costs(self) -> list[Cost]:
        """Every account's."""
        for cost in self._costs.values():
            self._plan(cost)
            account = self._desk.settings.account(cost.account)
            cost.seconds = max(0.0, (cost.requests - account.burst) / account.rate)
        return list(self._costs.values())

    def _plan(self, cost: Cost) -> None:
        if not cost.waiting:
            return
        account = self._desk.settings.account(cost.account)
        limits = Limits(max_ids=account.max_ids, max_actions=account.max_actions)
        told = rehearse(list(enumerate(cost.waiting, start=1)), limits=limits, order=self._desk.runtime.order)
        cost.changes, cost.actions, cost.requests = (
            cost.changes + len(cost.waiting),
            cost.actions + told.actions,
            cost.requests + len(told.requests),
        )
        cost.waiting = []
