"""Requests to the API: what was sent, and what was answered."""

from ops.dashboard.formats import relation_path
from ops.dashboard.listing import page_of_account
from ops.dashboard.page import DashboardDeps, Page, Visit, get
from worker.errors import NotFound


@get("/requests")
def list_requests(deps: DashboardDeps, visit: Visit) -> Page:
    """Show what was sent and answered of one account, newest first."""
    account, found, following = page_of_account(
        visit, "/requests", "read", deps.runtime.queries.list_requests
    )
    return Page("requests.html", {"account": account, "requests": found, "following": following})


@get("/requests/{account}/{id}")
def show_request(deps: DashboardDeps, visit: Visit) -> Page:
    """Show one request, action by action."""
    account = visit.named_account("read")
    request = deps.runtime.store.get_request(account, visit.named("id"))
    if request is None:
        raise NotFound("there is no such request (any more)")
    return Page(
        "request.html",
        {
            "account": account,
            "request": request,
            "actions": list(zip(request.actions, request.answers, strict=False)),
            "searches": list(zip(request.searches, request.answers, strict=False)),
            "path": relation_path,
        },
    )
