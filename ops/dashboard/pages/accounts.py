"""Accounts: how each stands, and what can be done with it."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Final

from ops.dashboard.page import Answer, DashboardDeps, Page, SeeOther, Visit, get, post
from ops.dashboard.pages.overview import AccountRow, read_accounts
from ops.doctor.findings import Finding, report_troubles, verdict_of
from ops.lookups import describe_resumed
from ops.operations.local import PAUSED_BY_OPERATOR
from worker.config.values import AccountLimits
from worker.errors import StoreUnreadable

SHOWN_ACCOUNTS: Final = 100


@get("/accounts")
def list_accounts(deps: DashboardDeps, visit: Visit) -> Page:
    """Show how every account of the key stands."""
    health = deps.runtime.read_health(visit.accounts)
    findings = report_troubles(deps.runtime.find_troubles(health))
    rows = read_accounts(deps, health, findings, SHOWN_ACCOUNTS)
    unreadable = {f"account {name}" for name in health.unreadable}
    return Page(
        "accounts.html",
        {
            "rows": rows,
            "left_out": len(health.accounts) - len(rows),
            "unreadable": [finding for finding in findings if finding.subject in unreadable],
        },
    )


@get("/accounts/{account}")
def show_account(deps: DashboardDeps, visit: Visit) -> Page:
    """Show one account: how it stands, its limits, and what can be done with it."""
    return account_page(deps, visit, visit.named("account"))


def account_page(
    deps: DashboardDeps, visit: Visit, name: str, *, findings: Iterable[Finding] = (), did: Iterable[str] = ()
) -> Page:
    """Return the page of an account, with what was just found or done."""
    account = visit.settings.account(visit.check("read", name))
    health = deps.runtime.read_health([name])
    if name in health.unreadable:
        raise StoreUnreadable(f"what is stored of account {name} cannot be read")
    troubles = [each for each in deps.runtime.find_troubles(health) if each.account == name]
    found = report_troubles(troubles)
    return Page(
        "account.html",
        {
            "row": AccountRow(
                name, health.accounts[name], deps.runtime.waits.of_account(name), verdict_of(found)
            ),
            "account": account,
            "pause": deps.runtime.store.get_pause(name),
            "troubles": found,
            "limits": [(each.name, getattr(account, each.name)) for each in fields(AccountLimits)],
            "findings": list(findings),
            "did": list(did),
        },
    )


@post("/accounts/{account}/pause", "admin")
def pause_account(deps: DashboardDeps, visit: Visit) -> Answer:
    """Stop an account; one that an operator has stopped stays as it is."""
    account = visit.settings.account(visit.named_account("admin")).name
    known = deps.runtime.store.get_pause(account)
    if known is None or known.reason != PAUSED_BY_OPERATOR:
        deps.operations.pause_account(account, visit.sent("why")[:200], by=visit.by)
    return SeeOther(f"/accounts/{account}")


@post("/accounts/{account}/resume", "admin")
def resume_account(deps: DashboardDeps, visit: Visit) -> Answer:
    """Let an account go on, and say what that did."""
    account = visit.named_account("admin")
    resumed = deps.operations.resume_account(visit.settings.account(account).name, by=visit.by)
    return account_page(deps, visit, account, did=describe_resumed(resumed))


@post("/accounts/{account}/check", "admin")
def check_account(deps: DashboardDeps, visit: Visit) -> Answer:
    """Try the credentials of an account, and show what was found."""
    account = visit.named_account("admin")
    findings = list(deps.operations.check_account(account))
    return account_page(deps, visit, account, findings=findings)
