"""The system: what the doctor finds of it, its workers and its settings."""

import platform
from collections.abc import Iterator

from ops.dashboard.page import DashboardDeps, Page, Visit, get
from ops.doctor.findings import Finding, report_troubles, verdict_of
from ops.doctor.server import check_redis
from ops.doctor.settings import check_settings
from worker.config import mask_url
from worker.errors import StoreUnavailable


@get("/system", waits=True)
def show_system(deps: DashboardDeps, visit: Visit) -> Page:
    """Show what the doctor finds without asking the API, versions, workers, and settings without secrets."""
    findings, workers = list[Finding](), None
    settings = visit.settings
    try:
        findings.extend(find_all(deps, visit))
        workers = deps.runtime.metrics.list_workers()
    except StoreUnavailable as error:
        findings.append(Finding("redis", "fail", str(error), "Start it, or look why it hangs."))
    return Page(
        "system.html",
        {
            "verdict": verdict_of(findings),
            "findings": findings,
            "workers": workers,
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
    """Yield what the doctor finds of settings, Redis, workers, and the accounts of the key.

    Raises StoreUnavailable where Redis does not answer.
    """
    runtime = deps.runtime
    if visit.may("admin"):
        yield from check_settings(visit.settings)
    yield from check_redis(runtime)
    health = runtime.read_health(visit.accounts)
    yield from report_troubles(runtime.find_troubles(health))
