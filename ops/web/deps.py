"""The dependencies of the operators' handlers as one value, built from a runtime here and nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from ops import lookups
from ops.resuming import Resumed, resume_account
from ops.web.metrics import MetricsReader
from producers.portals.http.threads import Threads
from producers.services import Services, build_services
from worker.config import Settings
from worker.contract import Relation
from worker.ports import JobAdmin, Queries, Store
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorDeps:
    """The dependencies of the handlers.

    `explain` and `describe` give the JSON of a relation and of an account, `resume` lets an account go on for
    the key of that name, `send_replay` sends a replay's id to the workers.
    """

    current_settings: Callable[[], Settings]
    store: Store
    queries: Queries
    job_admin: JobAdmin
    services: Services
    metrics: MetricsReader
    threads: Threads
    new_id: Callable[[], str]
    explain: Callable[[str, Relation], Any]
    describe: Callable[[str], Any]
    resume: Callable[[str, str], Resumed]
    send_replay: Callable[[str], None]


def operator_deps(
    runtime: Runtime, *, send_replay: Callable[[str], None], now: Callable[[], float]
) -> OperatorDeps:
    """Build the dependencies from a runtime; `now` is in seconds since the epoch."""

    def explain_relation(account: str, relation: Relation) -> Any:
        found = lookups.explain_relation(runtime, runtime.settings.account(account), relation, zone=UTC)
        return found.to_json()

    return OperatorDeps(
        current_settings=lambda: runtime.settings,
        store=runtime.store,
        queries=runtime.queries,
        job_admin=runtime.job_admin,
        services=build_services(runtime),
        metrics=MetricsReader(runtime, now=now),
        threads=Threads(),
        new_id=runtime.intake().new_id,
        explain=explain_relation,
        describe=lambda account: lookups.get_account_status(runtime, runtime.settings.account(account), UTC),
        resume=lambda account, by: resume_account(runtime, account, by=by, now=runtime.metrics.now() / 1e6),
        send_replay=send_replay,
    )
