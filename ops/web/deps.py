"""The dependencies of the operators' handlers as one value, built from a runtime here and nowhere else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from ops import doctor, lookups
from ops.doctor import Finding
from ops.history import HistoryBucket, read_history
from ops.resuming import Resumed, resume_account
from ops.web.metrics import MetricsReader
from producers.portals.http.threads import Threads
from producers.services import Services, build_services
from worker.config import Settings
from worker.contract import Relation
from worker.ports import Deliveries, DriftPage, JobAdmin, Queries, Store
from worker.usecases.callbacks import Callbacks
from worker.usecases.health import Health, Trouble
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorDeps:
    """The dependencies of the handlers.

    `read_health` reads how the system is doing, of some accounts, `find_troubles` what is wrong with it, and
    `read_history` what an account did.
    `explain` and `describe` give the JSON of a relation and of an account with times in texts of a zone,
    `check_account` tries an account's credentials, `resume` lets an account go on for
    the key of that name, `send_replay` sends a replay's id to the workers, `read_drift` reads a page of what
    was confirmed back from the CRM.
    """

    current_settings: Callable[[], Settings]
    store: Store
    queries: Queries
    job_admin: JobAdmin
    deliveries: Deliveries
    callbacks: Callbacks
    services: Services
    metrics: MetricsReader
    threads: Threads
    new_id: Callable[[], str]
    read_health: Callable[[Sequence[str]], Health]
    find_troubles: Callable[[Health], Sequence[Trouble]]
    read_history: Callable[[str], Sequence[HistoryBucket]]
    explain: Callable[[str, Relation, tzinfo], Any]
    describe: Callable[[str, tzinfo], Any]
    check_account: Callable[[str], Sequence[Finding]]
    resume: Callable[[str, str], Resumed]
    send_replay: Callable[[str], None]
    read_drift: Callable[..., DriftPage]


def operator_deps(
    runtime: Runtime, *, send_replay: Callable[[str], None], now: Callable[[], float]
) -> OperatorDeps:
    """Build the dependencies from a runtime; `now` is in seconds since the epoch."""

    def explain_relation(account: str, relation: Relation, zone: tzinfo) -> Any:
        found = lookups.explain_relation(runtime, runtime.settings.account(account), relation, zone=zone)
        return found.to_json()

    def describe_account(account: str, zone: tzinfo) -> Any:
        return lookups.get_account_status(runtime, runtime.settings.account(account), zone)

    def check_account(account: str) -> Sequence[Finding]:
        return list(doctor.try_account(runtime, runtime.settings.account(account)))

    return OperatorDeps(
        current_settings=lambda: runtime.settings,
        store=runtime.store,
        queries=runtime.queries,
        job_admin=runtime.job_admin,
        deliveries=runtime.deliveries,
        callbacks=runtime.callbacks,
        services=build_services(runtime),
        metrics=MetricsReader(runtime, now=now),
        threads=Threads(),
        new_id=runtime.intake().new_id,
        read_health=runtime.read_health,
        find_troubles=runtime.find_troubles,
        read_history=lambda account: read_history(runtime.metrics, account),
        explain=explain_relation,
        describe=describe_account,
        check_account=check_account,
        resume=lambda account, by: resume_account(runtime, account, by=by, now=runtime.metrics.now() / 1e6),
        send_replay=send_replay,
        read_drift=runtime.read_drift,
    )
