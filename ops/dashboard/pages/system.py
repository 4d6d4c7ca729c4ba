"""Accounts, the audit log, and the system itself."""

import platform
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Final

from ops.dashboard.deps import DashboardDeps
from ops.dashboard.page import Page, Visit, link_next
from ops.dashboard.pages.overview import make_row, read_accounts
from ops.doctor.findings import Finding, report_troubles, verdict_of
from ops.doctor.server import check_redis
from ops.doctor.settings import check_settings
from worker.config import mask_url
from worker.config.values import AccountLimits
from worker.errors import StoreUnavailable
from worker.ports import AuditPage

SHOWN_ACCOUNTS: Final = 100
AUDIT_ENTRIES: Final = 50


def list_accounts(deps: DashboardDeps, visit: Visit) -> Page:
    """Show how every account of the key stands."""
    health = deps.runtime.read_health(visit.accounts)
    findings = report_troubles(deps.runtime.find_troubles(health))
    rows = read_accounts(deps, health, findings, SHOWN_ACCOUNTS)
    return Page("accounts.html", {"rows": rows, "left_out": len(health.accounts) - len(rows)})


def show_account(deps: DashboardDeps, visit: Visit) -> Page:
    """Show one account: how it stands, its limits, and what can be done with it."""
    return account_page(deps, visit, visit.named("account"))


def account_page(
    deps: DashboardDeps, visit: Visit, name: str, *, findings: Iterable[Finding] = (), did: Iterable[str] = ()
) -> Page:
    """Return the page of an account, with what was just found or done."""
    account = visit.settings.account(visit.check("read", name))
    health = deps.runtime.read_health([name])
    troubles = [each for each in deps.runtime.find_troubles(health) if each.account == name]
    found = report_troubles(troubles)
    return Page(
        "account.html",
        {
            "row": make_row(
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


def list_audit_entries(deps: DashboardDeps, visit: Visit) -> Page:
    """Show who did what in one account, newest first."""
    account = visit.chosen_account("admin")
    page = (
        deps.runtime.job_admin.audit_log(account, limit=AUDIT_ENTRIES, cursor=visit.asked("cursor"))
        if account
        else AuditPage((), "")
    )
    following = link_next("/audit", page.next, account=account)
    return Page("audit.html", {"account": account, "entries": page.entries, "following": following})


def show_system(deps: DashboardDeps, visit: Visit) -> Page:
    """Show what the doctor finds without asking the API, versions, workers, and settings without secrets."""
    findings = list(find_all(deps, visit))
    settings = visit.settings
    return Page(
        "system.html",
        {
            "verdict": verdict_of(findings),
            "findings": findings,
            "workers": deps.runtime.metrics.list_workers(),
            "sweeps": deps.runtime.metrics.sweep_stats(),
            "python": platform.python_version(),
            "settings": settings,
            "facts": [
                ("RELATIONS_REDIS_URL", mask_url(settings.redis_url)),
                ("RELATIONS_BROKER_URL", mask_url(settings.broker_url)),
                ("RELATIONS_API_URL", mask_url(settings.api_url)),
                ("RELATIONS_PREFIX", settings.prefix),
                ("RELATIONS_CONFIG", str(settings.file or "")),
            ],
            "keys": [key for key in settings.keys.values() if set(key.accounts) & set(visit.key.accounts)]
            if visit.may("admin")
            else [],
        },
    )


def find_all(deps: DashboardDeps, visit: Visit) -> Iterator[Finding]:
    """Yield what the doctor finds of settings, Redis, workers, and the accounts of the key."""
    runtime = deps.runtime
    if visit.may("admin"):
        yield from check_settings(visit.settings)
    try:
        yield from check_redis(runtime)
        health = runtime.read_health(visit.accounts)
    except StoreUnavailable as error:
        yield Finding("redis", "fail", str(error), "Start it, or look why it hangs.")
        return
    yield from report_troubles(runtime.find_troubles(health))
