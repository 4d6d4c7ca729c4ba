"""What failed and waits for a decision: by error and type, and by the record that is to blame."""

from typing import Final, NamedTuple

from ops.dashboard.deps import DashboardDeps
from ops.dashboard.listing import MAX_ACCOUNTS
from ops.dashboard.page import Page, Visit, link
from ops.explain.advice import advise
from ops.serializers.failures import describe_failure
from producers.job_admin.suspects import RecordFailures, find_suspects
from worker.onoffice.codes import describe
from worker.ports.records import FailureGroup

MAX_SUSPECTS: Final = 25
SUSPECTED_JOBS: Final = 500  # failed ones, of all accounts together, that a page looks at for suspects
MAX_GROUPS: Final = 100


class FailureRow(NamedTuple):
    """The failed jobs of an account of one error and type, with what the error means and what to do."""

    account: str
    group: FailureGroup
    message: str
    todo: str
    path: str


def list_errors(deps: DashboardDeps, visit: Visit) -> Page:
    """Show what failed and waits for a decision, by error and type, and by the record that is to blame."""
    inboxes = visit.chosen_inboxes()
    stats = deps.runtime.metrics.account_stats(inboxes)
    failing = [name for name in inboxes if stats[name].unresolved]
    rows = [
        _failure_row(account, group)
        for account in failing[:MAX_ACCOUNTS]
        for group in deps.runtime.queries.failure_groups(account)
    ]
    rows.sort(key=lambda row: -row.group.jobs)
    looked_at = SUSPECTED_JOBS // max(1, min(len(failing), MAX_ACCOUNTS))
    suspects = [
        (account, each, _suspect_path(account, each))
        for account in failing[:MAX_ACCOUNTS]
        for each in find_suspects(deps.runtime.queries, account, most=looked_at)[:MAX_SUSPECTS]
    ]
    suspects.sort(key=lambda pair: -pair[1].relations)
    return Page(
        "errors.html",
        {
            "account": visit.asked("account"),
            "rows": rows[:MAX_GROUPS],
            "suspects": suspects[:MAX_SUSPECTS],
            "left_out": max(0, len(failing) - MAX_ACCOUNTS),
            "looked_at": looked_at,
            "describe": describe,
        },
    )


def _failure_row(account: str, group: FailureGroup) -> FailureRow:
    error = str(group.code) if group.code else group.error
    path = link("/jobs", account=account, state="failed", error=error, relationtype=group.type)
    return FailureRow(account, group, describe_failure(group), advise(group.code, group.error), path)


def _suspect_path(account: str, suspect: RecordFailures) -> str:
    side = "childid" if suspect.module == "address" else "parentid"
    return link("/jobs", account=account, state="failed", **{side: suspect.record})
