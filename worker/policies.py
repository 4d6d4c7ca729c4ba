"""What the settings say, in the values that the use cases take. Pure."""

from dataclasses import asdict

from worker.config import Account, Settings, fingerprint
from worker.config.values import DAY
from worker.contract import TYPES, Order, Override, order_of, resolve
from worker.errors import InvalidSettings
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.usecases.flush_context import FlushPolicy
from worker.usecases.intake import IntakePolicy


class Policies:
    """The policies by one value of the settings; `overrides` are the operator's, by relation type."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.overrides: dict[str, Override] = {
            resolve(name).type.name: {
                key: value for key, value in asdict(policy).items() if value is not None
            }
            for name, policy in settings.types.items()
        }

    def flush_policy(self, name: str) -> FlushPolicy:
        """Return an account's policies as a flush needs them."""
        account = self.settings.account(name)
        return FlushPolicy(
            account=account.name,
            limits=Limits(max_ids=account.max_ids, max_actions=account.max_actions),
            rate=account.rate,
            burst=account.burst,
            window=account.window,
            max_batch=account.max_batch,
            doubt=account.doubt,
            retry=RetryPolicy(
                account.max_attempts,
                account.give_up_after,
                account.backoff,
                account.on_modify_absent == "create",
            ),
            order=self.order,
            fingerprint=credentials_fingerprint(account, self.settings.prefix),
            observe=account.mode == "observe",
            max_deletes_per_hour=account.max_deletes_per_hour,
        )

    def intake_policy(self, name: str) -> IntakePolicy:
        """Return what an account accepts."""
        account = self.settings.account(name)
        return IntakePolicy(
            account=account.name,
            window=account.window,
            max_backlog=account.max_backlog,
            overrides=self.overrides,
            order=self.order,
            memory=account.failed_retention_days * DAY,
        )

    def order(self, type_name: str) -> Order:
        """Return which half of a swap goes first for a relation type."""
        return order_of(TYPES[type_name], self.overrides.get(type_name))

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint of an account's credentials; "" while they cannot be read."""
        try:
            return credentials_fingerprint(self.settings.account(name), self.settings.prefix)
        except InvalidSettings:
            return ""


def credentials_fingerprint(account: Account, prefix: str) -> str:
    """Return what shows whether credentials changed, and nothing else about them (R20)."""
    return fingerprint(account.token.reveal(), account.secret.reveal(), f"{prefix}:{account.name}")
