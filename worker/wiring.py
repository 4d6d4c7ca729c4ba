"""The composition root: settings become live objects here and nowhere else. Nothing connects at import."""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from worker import log
from worker.background import NamedThreads, cause_of, keep_lease, open_sender
from worker.config import Account, Callback, Settings
from worker.config.urls import find_proxy
from worker.contract import Relation
from worker.errors import StoreUnavailable, StoreUnreadable
from worker.ids import IdGenerator
from worker.limiter.redis_limiter import RedisLimiter
from worker.live_settings import LiveSettings
from worker.planner.dry_run import DryRun
from worker.planner.guard import guard_key, indexed_side
from worker.planner.relation_state import RelationRecord
from worker.ports import EventSink, Wake
from worker.ports.callbacks import CallbackAttempt
from worker.ports.drift import DriftFilter, DriftPage
from worker.ports.erasure import ERASED, RecordRef, UnsettledRequests, Withdrawal
from worker.ports.metrics import AccountStats
from worker.ports.pace import Pace
from worker.ports.requests import Api
from worker.ports.work import ClaimedJob
from worker.redis.client import Askers, Client, connect
from worker.redis.rights import check_writable
from worker.store.callbacks import RedisCallbacks
from worker.store.database import Database
from worker.store.deliveries import RedisDeliveries
from worker.store.inspection.inspector import RedisInspector
from worker.store.job_admin import RedisJobAdmin
from worker.store.metrics import RedisMetrics
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore
from worker.usecases.callbacks import Callbacks
from worker.usecases.cancel_taken import TakenJobs
from worker.usecases.drift import DriftReader
from worker.usecases.dry_run import dry_run_jobs
from worker.usecases.flush import flush
from worker.usecases.flush_context import FlushDeps, FlushResult
from worker.usecases.health import AccountHealth, Health, Trouble, find_process_troubles, find_troubles
from worker.usecases.intake import Intake
from worker.usecases.sweep import Sweeper
from worker.usecases.waiting import WaitReader
from worker.usecases.withdrawal import withdraw_record

if TYPE_CHECKING:
    from worker.onoffice.client import Client as ApiClient
    from worker.traces import Traces


class Runtime:
    """The live objects of one process; a forked process makes its own, because it may share no client.

    `wake` sends a flush message that is due after so many seconds; `emit` takes the events.
    """

    def __init__(
        self, settings: Settings, *, wake: Wake, emit: EventSink = log.emit, client: Client | None = None
    ) -> None:
        self.wake, self.emit = wake, emit
        self.live_settings = LiveSettings(settings, emit)
        self.client = client or connect(settings.redis_url)
        self.ask_each = Askers(settings.redis_url)
        self.store = RedisStore(self.client, settings.prefix, keep=self.live_settings.retention)
        database = self.store.database
        self.queries = RedisQueries(database)
        self.job_admin = RedisJobAdmin(database, self.live_settings.retention)
        self.deliveries = RedisDeliveries(
            database,
            keep=self.live_settings.delivery_retention,
            known=lambda: self.settings.sources,
        )
        self.limiter = RedisLimiter(self.client, settings.prefix)
        self.metrics = RedisMetrics(database)
        self.api: Callable[[Account], Api] = ApiClients().get
        self.find_callback_addresses = find_callback_addresses
        self._new_id = IdGenerator()
        self.callbacks = Callbacks(
            store=RedisCallbacks(self.store),
            # Read again if the file changed: a producer may run for long and do nothing but accept.
            list_callbacks=lambda: self.live_settings.refresh().callbacks,
            transport=send_callback,
            metrics=self.metrics,
            job_admin=self.job_admin,
            new_id=self._new_id,
            draw=random.random,
            emit=emit,
        )
        self._senders = NamedThreads()

    @cached_property
    def inspector(self) -> RedisInspector:
        """What finds what contradicts itself in the store, and mends it."""
        return RedisInspector(self.store, clock=time, new_id=self._new_id, guard_of=self._guard_of)

    @cached_property
    def sweeper(self) -> Sweeper:
        """The use case that finds what was lost or is over."""
        return Sweeper(
            store=self.store,
            job_admin=self.job_admin,
            metrics=self.metrics,
            deliveries=self.deliveries,
            list_accounts=lambda: self.settings.accounts,
            fingerprint_of=self.live_settings.fingerprint,
            wake=self.wake,
            mend=self.inspector.mend,
            emit=self.emit,
        )

    @cached_property
    def waits(self) -> WaitReader:
        """What says why accounts and jobs wait."""
        return WaitReader(
            queries=self.queries,
            limiter=self.limiter,
            policy_of=self.live_settings.flush_policy,
            ask_each=self.ask_each,
        )

    @cached_property
    def taken_jobs(self) -> TakenJobs:
        """The use case that ends changes which a flush has taken."""
        return TakenJobs(
            store=self.store,
            queries=self.queries,
            job_admin=self.job_admin,
            policy_of=self.live_settings.flush_policy,
            clock=time,
            keep_lease=keep_lease,
            new_id=self._new_id,
            wake=self.wake_known,
        )

    @property
    def settings(self) -> Settings:
        """The settings now in force."""
        return self.live_settings.current

    def intake(self) -> Intake:
        """Return the use case that accepts changes."""
        return Intake(
            store=self.store,
            policy_of=self.live_settings.intake_policy,
            new_id=self._new_id,
            wake=self.wake,
            emit=self.emit,
            watch=self.callbacks.watch,
        )

    def wake_known(self, account: str, seconds: float) -> None:
        """Send a flush message, unless the account has left the settings: nobody works it."""
        if account in self.settings.accounts:
            self.wake(account, seconds)

    def flush(self, account: str) -> FlushResult:
        """Work one batch of an account."""
        self.live_settings.refresh()
        # Before the client: a pause for credentials that have just been replaced would not end.
        policy = self.live_settings.flush_policy(account)
        result = flush(policy, self._flush_deps(account))
        if result.counters:
            self.metrics.add(account, result.counters)
        return result

    def read_drift(
        self, account: str, wanted: DriftFilter, *, cursor: str = "", sample: int = 0
    ) -> DriftPage:
        """Return what the CRM says of a page of what was confirmed, or of relations drawn by chance."""
        self.live_settings.refresh()
        policy = self.live_settings.flush_policy(account)
        reader = DriftReader(policy, self._flush_deps(account), self.queries, self.wake)
        try:
            return reader.read(wanted, cursor=cursor, sample=sample)
        finally:
            if reader.telemetry.counters:
                self.metrics.add(account, reader.telemetry.counters)

    def _flush_deps(self, account: str) -> FlushDeps:
        return FlushDeps(
            store=self.store,
            limiter=self.limiter,
            api=self.api(self.settings.account(account)),
            clock=time,
            open_sender=open_sender,
            keep_lease=keep_lease,
            new_id=self._new_id,
            draw=random.random,
            emit=self.emit,
        )

    def read_health(self, accounts: Sequence[str] | None = None, *, takes_changes: bool = False) -> Health:
        """Read how the system is doing, in seven round trips; by default of all accounts of the settings.

        Who has just seen that the store takes changes says so, and it is not asked again.
        """
        known = self.settings.accounts
        names = list(known) if accounts is None else list(accounts)
        stats, paces = dict[str, AccountStats](), dict[str, Pace]()
        with suppress(StoreUnreadable):  # of an account that is alone
            stats, paces = {**self.metrics.account_stats(names)}, self.limiter.states(names)
        readable = [name for name in names if name in stats and name in paces]
        observing = {name for name, account in known.items() if account.mode == "observe"}
        return Health(
            now=(now := self.metrics.now() / 1e6),
            ahead=now - time.time(),
            workers=self.metrics.list_workers(),
            sweeps=self.metrics.sweep_stats(),
            memory=self.metrics.memory_usage(),
            accounts={
                name: AccountHealth(stats[name], paces[name], name in observing, self._claim_written_at(name))
                for name in readable
            },
            refusal="" if takes_changes else self._find_refusal(),
            unreadable=[name for name in names if name not in readable],
        )

    def check_writable(self) -> None:
        """Raise StoreUnavailable, with the reason, if the store takes no changes at this moment."""
        check_writable(self.client, self.settings.prefix)

    def _find_refusal(self) -> str:
        try:
            self.check_writable()
        except StoreUnavailable as error:
            return str(error)
        return ""

    def _claim_written_at(self, name: str) -> float | None:
        account = self.settings.accounts.get(name)
        claim = account.extendedclaim if account else None
        return claim.written_at if claim and claim.file else None

    def find_troubles(self, health: Health | None = None) -> list[Trouble]:
        """Return what is wrong with the system, by its health where that was read already.

        Raises StoreUnavailable if it cannot be asked.
        """
        own = find_process_troubles(str(getattr(self.wake, "trouble", "")), self.live_settings.faults)
        return [*own, *find_troubles(health or self.read_health())]

    def sweep(self) -> int:
        """Send the flush messages that are missing, and return how many; let callbacks be sent beside it."""
        self.live_settings.refresh()
        repaired = self.sweeper.sweep()
        for name in self.callbacks.look():
            self._senders.start(f"callback {name}", partial(self.callbacks.send_due, name))
        return repaired

    def dry_run(
        self, account: str, jobs: Sequence[ClaimedJob], known: Mapping[Relation, RelationRecord]
    ) -> DryRun:
        """Return what flushes of these jobs would send if the API took all of it."""
        return dry_run_jobs(jobs, known, self.live_settings.flush_policy(account).dry_run)

    def withdraw(
        self,
        account: str,
        record: RecordRef,
        known: Mapping[Relation, RelationRecord],
        unsettled: UnsettledRequests,
    ) -> Withdrawal:
        """Return what ends the record's relations among the known ones, and which of them must wait."""
        policy = self.live_settings.flush_policy(account)
        return withdraw_record(record, known, unsettled, policy, by=ERASED)

    def _guard_of(self, account: str, relation: Relation) -> str:
        """Return the guarded record of a relation (R12), none for an account that the settings have not."""
        if account not in self.settings.accounts:
            return ""
        side = self.live_settings.flush_policy(account).guarded(relation.type)
        return guard_key(relation, indexed_side(relation.type, side))


class ApiClients:
    """One API client per account; a new one when what it is made of has changed, as its credentials."""

    def __init__(self) -> None:
        self._clients: dict[str, tuple[object, ApiClient]] = {}

    def get(self, account: Account) -> "ApiClient":
        """Return the account's client; raise InvalidSettings if its credentials cannot be read."""
        from worker.onoffice.client import Client as ApiClient

        made_of = account.api_url, account.token.reveal(), account.secret.reveal()
        options: dict[str, Any] = {
            "timeout": account.timeout,
            "modify_action": account.modify_action,
            "extendedclaim": account.find_claim() or None,
            "connections": account.in_flight,
        }
        known, client = self._clients.get(account.name, (None, None))
        if client is None or known != (made_of, options):
            client = ApiClient(*made_of, **options, proxy=find_proxy(account.api_url, os.environ))
            self._clients[account.name] = (made_of, options), client
        return client


# What speaks HTTP takes a tenth of a second to import, and most processes send nothing by it.


def import_http() -> None:
    """Import what sends to the API and to callbacks, so that all children of a worker share it."""
    for name in ("worker.callbacks.transport", "worker.onoffice.client"):
        import_module(name)


def send_callback(callback: Callback, *, message_id: str, body: bytes, now: float) -> CallbackAttempt:
    """Send a message once; `now` (seconds) is when it is signed."""
    from worker.callbacks.transport import send

    return send(callback, message_id=message_id, body=body, now=now)


def find_callback_addresses(callback: Callback) -> list[str]:
    """Return the addresses that the callback would be sent to now; raises httpcore.ConnectError."""
    from worker.callbacks.transport import find_addresses

    return find_addresses(callback)


def open_traces(settings: Settings, *, service: str, emit: EventSink = log.emit) -> "Traces | None":
    """Return what makes spans in this process, under this name of a service; None where they are off.

    None also if the SDK cannot use the variables OTEL_…: work goes on without spans.
    """
    if settings.traces == "off":
        return None
    from worker.traces import Traces  # of an extra, and slow to import

    try:
        return Traces(service)
    except Exception as error:  # whatever the SDK raises
        emit("traces.refused", error=cause_of(error))
        return None


def connect_metrics(settings: Settings) -> RedisMetrics:
    """Return the metrics alone, over a connection of their own."""
    return RedisMetrics(Database(connect(settings.redis_url), settings.prefix))
