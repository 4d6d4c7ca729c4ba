"""What failed and waits for a decision: by error and type, and by the record that is to blame."""

from functools import partial
from typing import Final

from ops.dashboard.listing import MAX_ACCOUNTS
from ops.dashboard.page import DashboardDeps, Page, Visit, get
from producers.job_admin.suspects import find_suspects
from worker.onoffice.codes import advise, describe

MAX_SUSPECTS: Final = 25
SUSPECTED_JOBS: Final = 500  # failed ones, of all accounts together, that a page looks at for suspects
MAX_GROUPS: Final = 100


@get("/errors")
def list_errors(deps: DashboardDeps, visit: Visit) -> Page:
    """Show what failed and waits for a decision, by error and type, and by the record that is to blame."""
    inboxes = visit.chosen_inboxes()
    stats = deps.runtime.metrics.account_stats(inboxes)
    failing = [name for name, each in stats.items() if each.unresolved]
    groups = deps.runtime.ask_each(deps.runtime.queries.failure_groups, failing[:MAX_ACCOUNTS])
    rows = [(account, group) for account, found in groups.items() for group in found]
    rows.sort(key=lambda row: -row[1].jobs)
    looked_at = SUSPECTED_JOBS // max(1, min(len(failing), MAX_ACCOUNTS))
    named = deps.runtime.ask_each(partial(find_suspects, deps.runtime.queries, most=looked_at), list(groups))
    suspects = [(account, each) for account, found in named.items() for each in found[:MAX_SUSPECTS]]
    suspects.sort(key=lambda pair: -pair[1].relations)
    return Page(
        "errors.html",
        {
            "account": visit.asked("account"),
            "rows": rows[:MAX_GROUPS],
            "more_rows": max(0, len(rows) - MAX_GROUPS),
            "suspects": suspects[:MAX_SUSPECTS],
            "left_out": max(0, len(failing) - MAX_ACCOUNTS),
            "looked_at": looked_at,
            "describe": describe,
            "advise": advise,
        },
    )
