"""What an import would cost: its changes folded and planned batch by batch, as flushes would take them. Holds one batch per account."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ops.cli.context import CommandContext
from ops.explain import rehearse
from ops.explain.flow import catalogue_order
from worker.config import Account, Secret
from worker.contract import Change, check
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
    """Takes changes, and knows what they would cost; an upper bound, because larger batches save more.

    With a desk by its settings; without one by the defaults, because another machine's settings are not known here.
    """

    def __init__(self, desk: CommandContext | None) -> None:
        self._costs = dict[str, Cost]()
        self._account = desk.settings.account if desk else _account
        self._overrides = desk.runtime.overrides if desk else {}
        self._order = desk.runtime.order if desk else catalogue_order

    def add(self, change: Change) -> None:
        """One more change, checked as intake does; raises InvalidChange and NotFound."""
        account = self._account(change.account)
        check(change, self._overrides)
        cost = self._costs.setdefault(change.account, Cost(change.account))
        cost.waiting.append(change)
        if len(cost.waiting) >= account.max_batch:
            self._plan(cost)

    def costs(self) -> list[Cost]:
        """Every account's."""
        for cost in self._costs.values():
            self._plan(cost)
            account = self._account(cost.account)
            cost.seconds = max(0.0, (cost.requests - account.burst) / account.rate)
        return list(self._costs.values())

    def _plan(self, cost: Cost) -> None:
        if not cost.waiting:
            return
        account = self._account(cost.account)
        limits = Limits(max_ids=account.max_ids, max_actions=account.max_actions)
        told = rehearse(list(enumerate(cost.waiting, start=1)), limits=limits, order=self._order)
        cost.changes, cost.actions, cost.requests = (
            cost.changes + len(cost.waiting),
            cost.actions + told.actions,
            cost.requests + len(told.requests),
        )
        cost.waiting = []


def _account(name: str) -> Account:
    return Account(name=name, token=Secret(""), secret=Secret(""))
