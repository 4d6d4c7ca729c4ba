"""The rules by which changes are checked and planned, without Redis: for dry runs."""

from collections.abc import Sequence

from ops.cli.context import CommandContext
from ops.explain.dry_run import catalogue_guarded, catalogue_order
from worker.config import Account, Secret
from worker.contract import Change, check
from worker.planner.dry_run import DryRunPolicy
from worker.planner.plan import Limits


class OfflineRules:
    """Checks changes as intake does, and knows how each account's are planned.

    With a context by its settings; without one by the defaults, as another machine's settings are unknown.
    """

    def __init__(self, context: CommandContext | None) -> None:
        self.find_account = context.settings.account if context else _default_account
        self._overrides = context.runtime.live_settings.overrides if context else {}
        self._order = context.runtime.live_settings.order if context else catalogue_order
        self._guarded = context.runtime.live_settings.guarded if context else catalogue_guarded

    def check(self, change: Change) -> Sequence[str]:
        """Return warnings about the change; raises InvalidChange, or NotFound for an unknown account."""
        self.find_account(change.account)
        return check(change, self._overrides)

    def get_policy(self, account_name: str) -> DryRunPolicy:
        """Return how the account's changes are planned, all of them at once."""
        account = self.find_account(account_name)
        limits = Limits(max_ids=account.max_ids, max_actions=account.max_actions)
        return DryRunPolicy(limits, self._order, self._guarded, upsert=account.on_modify_absent == "create")


def _default_account(name: str) -> Account:
    return Account(name=name, token=Secret(""), secret=Secret(""))
