"""The composition root: settings become live objects here and nowhere else. Nothing connects at import.

A `Runtime` belongs to one process; `runtime()` makes a new one after a fork, because no client may be shared over it.
"""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path

from worker import log
from worker.background import MessageSender, heartbeat
from worker.clock import IdGenerator, SystemClock
from worker.config import Account, Settings, fingerprint, load_settings
from worker.contract import TYPES, Order, Override, Relation, order_of, resolve
from worker.errors import Fault, InvalidSettings, StoreUnavailable
from worker.limiter.redis_limiter import RedisLimiter
from worker.onoffice.client import Client as ApiClient
from worker.planner.dry_run import DryRun
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports import UNROUTED, Api, ClaimedJob, EventSink, RelationRecord, Writes
from worker.redis.broker import broker_settings
from worker.redis.client import Client, connect
from worker.store.job_admin import RedisJobAdmin
from worker.store.metrics import RedisMetrics
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore, Retention
from worker.usecases.batch import Batch
from worker.usecases.dry_run import DryRunPolicy, dry_run_jobs
from worker.usecases.flush import flush
from worker.usecases.flush_context import FlushDeps, FlushPolicy, FlushResult
from worker.usecases.intake import Intake, IntakePolicy

TIDIED = (
    5  # parts of an index that one sweep tidies: 5,000 jobs a second are far more than can be kept for a day
)
SWEPT = 5000  # accounts one sweep looks at, which bounds the messages it can add to the queue
LOOKED = 20  # accounts of which one sweep looks for replays that stand still
STALLED = 60.0  # seconds after which a replay should have come on: a piece takes less than one
DAY = 86_400.0

Wake = Callable[[str, float], None]


class Runtime:
    """Everything a process needs, made of its settings when first used; `wake` sends a flush message."""

    def __init__(self, settings: Settings, *, wake: Wake, client: Client | None = None) -> None:
        self.settings, self.wake, self.pid = settings, wake, os.getpid()
        self.client = client or connect(settings.redis_url)
        self.store = RedisStore(self.client, settings.prefix, keep=self._keep)
        self.queries = RedisQueries(self.client, settings.prefix)
        self.job_admin = RedisJobAdmin(self.client, settings.prefix, keep=self._keep)
        self.limiter = RedisLimiter(self.client, settings.prefix)
        self.metrics = RedisMetrics(self.client, settings.prefix)
        self.emit: EventSink = log.emit
        self.overrides = _overrides(settings)
        self._apis: dict[str, tuple[str, Api]] = {}
        self._stamp = _stamp(settings)
        self._tidied: dict[str, int] = {}

    def intake(self) -> Intake:
        """The front door."""
        return Intake(
            store=self.store, policy_of=self.intake_policy, new_id=_names(), wake=self.wake, emit=self.emit
        )

    def flush(self, account: str) -> FlushResult:
        """Work one batch of an account."""
        self.refresh()
        chosen = self.settings.account(account)
        tools = FlushDeps(
            store=self.store,
            limiter=self.limiter,
            api=self.api(chosen),
            clock=SystemClock(),
            keep_lease=heartbeat,
            new_id=_names(),
            draw=random.random,
            emit=self.emit,
        )
        flushed = flush(self.flush_policy(chosen), tools)
        if flushed.counters:
            self.metrics.add(account, flushed.counters)
        return flushed

    def dry_run(
        self, account: str, jobs: Sequence[ClaimedJob], known: Mapping[Relation, RelationRecord]
    ) -> DryRun:
        """What flushes of these jobs would send, if the API took all of it."""
        policy = self.flush_policy(self.settings.account(account))
        return dry_run_jobs(
            jobs, known, DryRunPolicy(policy.limits, policy.order, policy.retry.upsert, policy.max_batch)
        )

    def withdraw(
        self,
        account: str,
        relations: Sequence[Relation],
        records: Mapping[Relation, RelationRecord],
        *,
        by: str,
    ) -> Writes:
        """What ends these open relations; of the others among the records it forgets which star they were split from."""
        lane = self.flush_policy(self.settings.account(account))
        batch = Batch(upsert=lane.retry.upsert, order=lane.order)
        batch.reopen(records.keys() - set(relations), records)
        return batch.writes(batch.withdraw(relations, records, by=by))

    def sweep(self) -> int:
        """Send the flush messages that are missing; how many."""
        self.refresh()
        known = list(
            self.settings.accounts
        )  # not the registry's: in a cluster it may be away while accounts are not
        asked = random.sample(known, min(len(known), SWEPT))
        due = self.store.due_accounts(asked, credentials={account: self._held(account) for account in asked})
        for account in due:
            self.wake(account, 0.0)
        self.metrics.record_sweep(len(due), at=time.time_ns() // 1000)
        self._tidy(self.store.accounts())
        return len(due)

    def stalled_replays(self) -> list[str]:
        """Replays that a worker is to be handed again, of a few accounts per sweep; if one cannot be asked, the rest wait for the next."""
        lanes, found = [*self.settings.accounts, UNROUTED], list[str]()
        with suppress(StoreUnavailable):
            for lane in random.sample(lanes, min(len(lanes), LOOKED)):
                for each in self.job_admin.stalled_replays(lane, STALLED):
                    self.job_admin.touch_replay(each)
                    found.append(each)
        return found

    def _held(self, account: str) -> str:
        """The fingerprint of the account's credentials; none while they cannot be read, which is not the others' trouble."""
        try:
            return self.fingerprint(self.settings.account(account))
        except InvalidSettings:
            return ""

    def _tidy(self, accounts: Sequence[str]) -> None:
        """Let indexes forget, a bounded part of them per sweep; also those of accounts that have left the settings."""
        for account in random.choices(accounts, k=TIDIED) if accounts else ():
            self._tidied[account] = self.store.tidy(account, self._tidied.get(account, 0))

    def flush_policy(self, account: Account) -> FlushPolicy:
        """An account's policies as a flush needs them."""
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
            fingerprint=self.fingerprint(account),
            observe=account.mode == "observe",
            max_deletes_per_hour=account.max_deletes_per_hour,
        )

    def intake_policy(self, name: str) -> IntakePolicy:
        """What an account accepts."""
        account = self.settings.account(name)
        return IntakePolicy(
            account=name,
            window=account.window,
            max_backlog=account.max_backlog,
            overrides=self.overrides,
            order=self.order,
            memory=account.failed_retention_days * DAY,
        )

    def order(self, name: str) -> Order:
        """Which half of a swap goes first for a type."""
        return order_of(TYPES[name], self.overrides.get(name))

    def fingerprint(self, account: Account) -> str:
        """Tells whether credentials changed, and nothing else about them (R20)."""
        return fingerprint(
            account.token.reveal(), account.secret.reveal(), f"{self.settings.prefix}:{account.name}"
        )

    def api(self, account: Account) -> Api:
        """The account's client; a new one when its credentials or its address changed."""
        version = f"{self.fingerprint(account)} {account.api_url} {account.timeout} {account.modify_action}"
        held = self._apis.get(account.name)
        if held is None or held[0] != version:
            held = (
                version,
                ApiClient(
                    account.api_url,
                    account.token.reveal(),
                    account.secret.reveal(),
                    timeout=account.timeout,
                    modify_action=account.modify_action,
                    extendedclaim=account.extendedclaim.reveal() if account.extendedclaim else None,
                ),
            )
            self._apis[account.name] = held
        return held[1]

    def refresh(self) -> None:
        """Read the settings again when their file changed; a bad one is reported and the last good one holds."""
        if self.settings.file is None or self._stamp == (stamp := _stamp(self.settings)):
            return
        self._stamp = stamp
        try:
            where = self.settings.file.resolve()
            settings = load_settings({**os.environ, "RELATIONS_CONFIG": str(where)}, where.parent)
            if self.settings.accounts and not settings.accounts:  # most likely it is being written
                raise InvalidSettings(
                    [Fault("accounts", "there is none any more; to do without any, restart")]
                )
            self.overrides = _overrides(settings)
            self.settings = settings
            self.emit("settings.reloaded", file=str(settings.file))
        except InvalidSettings as error:
            self.emit(
                "settings.rejected",
                file=str(self.settings.file),
                faults=[str(fault) for fault in error.faults],
            )

    def _keep(self, name: str) -> Retention:
        account = self.settings.accounts.get(name)
        if account is None:
            return Retention()
        return Retention(
            account.retention_days * DAY, account.failed_retention_days * DAY, account.remember_days * DAY
        )


def metrics_of(settings: Settings) -> RedisMetrics:
    """The numbers alone, over a connection of their own."""
    return RedisMetrics(connect(settings.redis_url), settings.prefix)


def celery_broker(settings: Settings) -> tuple[str, dict[str, str]]:
    """The broker in Celery's words: its URL, and the options of its transport."""
    return broker_settings(settings.broker_url)


_current: dict[int, Runtime] = {}


def runtime(wake: Wake) -> Runtime:
    """This process's runtime, from the environment."""
    pid = os.getpid()
    if pid not in _current:
        _current.clear()
        _current[pid] = Runtime(load_settings(os.environ, Path.cwd()), wake=MessageSender(wake))
    return _current[pid]


def _overrides(settings: Settings) -> dict[str, Override]:
    """The operator's word per type, under its canonical name."""
    return {
        resolve(name).type.name: {key: value for key, value in asdict(policy).items() if value is not None}
        for name, policy in settings.types.items()
    }


def _stamp(settings: Settings) -> tuple[int, int] | None:
    try:
        status = settings.file.stat() if settings.file else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino) if status else None


@cache
def _names_of(_pid: int) -> IdGenerator:
    return IdGenerator(lambda: time.time_ns() // 1_000_000, os.urandom)


def _names() -> IdGenerator:
    return _names_of(os.getpid())
