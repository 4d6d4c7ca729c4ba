"""The settings in force, read again when their file changes, and the policies that they say."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from worker.config import Account, Settings, file_version, fingerprint, load_settings
from worker.config.kinds import DAY
from worker.contract import TYPES, GuardedSide, Order, Override, guarded_side, order_of, resolve
from worker.contract.types import NO_OVERRIDE
from worker.errors import Fault, InvalidSettings
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports import EventSink
from worker.ports.deliveries import DeliveryRetention
from worker.ports.store import IntakeBounds, Retention
from worker.usecases.flush_context import FlushPolicy
from worker.usecases.intake import IntakePolicy

RETRY_INTERVAL: Final = 2.0  # seconds until a file that cannot be used is read again


class LiveSettings:
    """The settings in force; a file that cannot be used is reported once, and the last good ones stay.

    `faults` are why the file cannot be used; it is tried again until it can, also unchanged: the reason may
    lie outside of it. `rule_faults` are of webhooks' rules, where a process understands them and has set
    `check_rules`: the sources stay as they were, all else of the file is in force. `overrides` are what the
    operator permits and orders otherwise than the documentation, by relation type.
    """

    def __init__(self, settings: Settings, emit: EventSink) -> None:
        self._emit = emit
        self._version = settings.version
        self._file_faults: tuple[str, ...] = ()
        self.rule_faults: tuple[str, ...] = ()
        self.check_rules: Callable[[Settings], None] = lambda _settings: None
        self._retry_at = 0.0
        self._use(settings)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why not all of the file is in force."""
        return (*self._file_faults, *self.rule_faults)

    def refresh(self) -> Settings:
        """Read the settings again if their file changed; return those in force."""
        file = self.current.file
        if file is None:
            return self.current
        version = file_version(file)
        if version == self._version and (not self._file_faults or time.monotonic() < self._retry_at):
            return self.current
        self._version, self._retry_at = version, time.monotonic() + RETRY_INTERVAL
        try:
            settings = self._reload(file)
            self._file_faults = ()
            self._emit("settings.reloaded", file=str(settings.file))
            self._use(self._with_usable_sources(settings))
        except InvalidSettings as error:
            faults = tuple(str(fault) for fault in error.faults)
            if faults != self._file_faults:
                self._emit("settings.rejected", file=str(file), faults=list(faults))
            self._file_faults = faults
        return self.current

    def flush_policy(self, name: str) -> FlushPolicy:
        """Return an account's policies as a flush needs them, also while its credentials cannot be read."""
        account = self.current.account(name)
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
            guarded=self.guarded,
            hold_for=account.hold_for,
            in_flight=account.in_flight,
            fingerprint=self.fingerprint(name),
            observe=account.mode == "observe",
            max_deletes_per_hour=account.max_deletes_per_hour,
            look_up_memory=account.look_up_memory,
            park_for=account.park_for,
            country=account.country,
        )

    def intake_policy(self, name: str) -> IntakePolicy:
        """Return what an account accepts."""
        account = self.current.account(name)
        return IntakePolicy(
            account=account.name,
            window=account.window,
            bounds=IntakeBounds(
                account.max_backlog, account.failed_retention_days * DAY, account.max_backlog_bytes
            ),
            overrides=self.overrides,
        )

    def retention(self, name: str) -> Retention:
        """Return how long an account's jobs are kept; of one that the settings do not have, as they said."""
        account = self.current.accounts.get(name)
        if account is None:
            return Retention(is_set=False)
        return Retention(
            account.retention_days * DAY, account.failed_retention_days * DAY, account.remember_days * DAY
        )

    def delivery_retention(self, name: str) -> DeliveryRetention:
        """Return how long a source's deliveries are kept, and how many bytes of them."""
        source = self.current.sources.get(name)
        if source is None:
            return DeliveryRetention()
        return DeliveryRetention(source.delivery_days * DAY, source.delivery_bytes)

    def order(self, type_name: str) -> Order:
        """Return which half of a swap goes first for a relation type."""
        return self._orders[type_name]

    def guarded(self, type_name: str) -> GuardedSide:
        """Return which record a relation type guards."""
        return self._guarded_sides[type_name]

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint of an account's credentials; "" while they cannot be read."""
        try:
            return credentials_fingerprint(self.current.account(name), self.current.prefix)
        except InvalidSettings:
            return ""

    def _with_usable_sources(self, settings: Settings) -> Settings:
        """Return the settings, with the sources as they were if rules of the new ones cannot be used."""
        try:
            self.check_rules(settings)
        except InvalidSettings as error:
            self.rule_faults = tuple(map(str, error.faults))
            self._emit("settings.rejected", file=str(settings.file), faults=list(self.rule_faults))
            return replace(settings, sources=self.current.sources)
        self.rule_faults = ()
        return settings

    def _use(self, settings: Settings) -> None:
        self.current = settings
        self.overrides: dict[str, Override] = {
            resolve(name).type.name: override for name, override in settings.types.items()
        }
        known = [(each, self.overrides.get(each.name, NO_OVERRIDE)) for each in TYPES.values()]
        # A flush asks for each of its relations, several times.
        self._guarded_sides = {each.name: guarded_side(each, override) for each, override in known}
        self._orders = {each.name: order_of(each, override) for each, override in known}

    def _reload(self, file: Path) -> Settings:
        path = file.absolute()  # a link may lead elsewhere the next time
        settings = load_settings({**os.environ, "RELATIONS_CONFIG": str(path)}, path.parent)
        if self.current.accounts and not settings.accounts:  # most likely it is being written
            raise InvalidSettings([Fault("accounts", "there is none any more; to do without any, restart")])
        return settings


def credentials_fingerprint(account: Account, prefix: str) -> str:
    """Return what shows whether credentials changed, and nothing else about them (R20)."""
    claim = account.find_claim()
    secret = f"{account.secret.reveal()}\0{claim}" if claim else account.secret.reveal()
    return fingerprint(account.token.reveal(), secret, f"{prefix}:{account.name}")
