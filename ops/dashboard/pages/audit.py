"""The audit log: who did what in one account."""

from ops.dashboard.listing import page_of_account
from ops.dashboard.page import DashboardDeps, Page, Visit, get


@get("/audit", "admin")
def list_audit_entries(deps: DashboardDeps, visit: Visit) -> Page:
    """Show who did what in one account, newest first."""
    account, entries, following = page_of_account(visit, "/audit", "admin", deps.runtime.job_admin.audit_log)
    return Page("audit.html", {"account": account, "entries": entries, "following": following})
