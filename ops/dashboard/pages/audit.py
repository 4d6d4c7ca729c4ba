"""The audit log: who did what in one account."""

from typing import Final

from ops.dashboard.deps import DashboardDeps
from ops.dashboard.page import Page, Visit, get, link_next
from worker.ports.queries import CursorPage

AUDIT_ENTRIES: Final = 50  # of one page


@get("/audit", "admin")
def list_audit_entries(deps: DashboardDeps, visit: Visit) -> Page:
    """Show who did what in one account, newest first."""
    account = visit.chosen_account("admin")
    page = (
        deps.runtime.job_admin.audit_log(account, limit=AUDIT_ENTRIES, cursor=visit.asked("cursor"))
        if account
        else CursorPage((), "")
    )
    following = link_next("/audit", page.next, account=account)
    return Page("audit.html", {"account": account, "entries": page.entries, "following": following})
