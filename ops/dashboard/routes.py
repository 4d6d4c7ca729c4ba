"""The pages, as a table; `relations api` serves them beside the interface for programs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import Scope

from ops.dashboard import sign_in
from ops.dashboard.deps import DashboardDeps, dashboard_deps
from ops.dashboard.endpoint import Handler, page_endpoint, static_endpoint
from ops.dashboard.pages import (
    accounts,
    acts,
    audit,
    deliveries,
    errors,
    find,
    jobs,
    overview,
    relations,
    replays,
    requests,
    sources,
    system,
)
from worker.config.values import Right
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One method of one path, what shows or does it, and the right that a key needs."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    right: Right = "read"


PAGES: Final = (
    PageEntry("GET", "/", overview.show_overview),
    PageEntry("GET", "/jobs", jobs.list_jobs),
    PageEntry("GET", "/jobs/{id}", jobs.show_job),
    PageEntry("GET", "/find", find.find),
    PageEntry("GET", "/relations/{account}/{type}/{parent:record}/{child:record}", relations.show_relation),
    PageEntry("GET", "/errors", errors.list_errors),
    PageEntry("GET", "/requests", requests.list_requests),
    PageEntry("GET", "/requests/{account}/{id}", requests.show_request),
    PageEntry("GET", "/accounts", accounts.list_accounts),
    PageEntry("GET", "/accounts/{account}", accounts.show_account),
    PageEntry("GET", "/sources", sources.list_sources),
    PageEntry("GET", "/sources/{name}", sources.show_source),
    PageEntry("POST", "/sources/{name}", sources.try_payload, "replay"),
    PageEntry("GET", "/deliveries", deliveries.list_deliveries),
    PageEntry("GET", "/deliveries/{id}", deliveries.show_delivery),
    PageEntry("POST", "/deliveries/{id}/preview", deliveries.preview_redelivery, "replay"),
    PageEntry("POST", "/deliveries/{id}/redeliver", deliveries.redeliver, "replay"),
    PageEntry("GET", "/audit", audit.list_audit_entries, "admin"),
    PageEntry("GET", "/system", system.show_system),
    PageEntry("GET", "/replays", replays.list_replays),
    PageEntry("GET", "/replays/{id}", replays.show_replay),
    PageEntry("POST", "/accounts/{account}/pause", accounts.pause_account, "admin"),
    PageEntry("POST", "/accounts/{account}/resume", accounts.resume_account, "admin"),
    PageEntry("POST", "/accounts/{account}/check", accounts.check_account, "admin"),
    PageEntry("POST", "/jobs/{id}/resolve", jobs.resolve_reference, "replay"),
    PageEntry("POST", "/acts", acts.prepare_act, "replay"),
    PageEntry("GET", "/acts/{token}", acts.show_act, "replay"),
    PageEntry("POST", "/acts/{token}", acts.carry_out, "replay"),
    PageEntry("POST", "/replays/{id}/run", replays.run_replay, "replay"),
    PageEntry("POST", "/replays/{id}/stop", replays.stop_replay, "replay"),
)


class HtmlRoute(Route):
    """A route for browsers, which ask for HTML; programs that ask for the same address pass it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the request is for this route: never partly, so that others have their turn."""
        match, found = super().matches(scope)
        if match is Match.FULL and "text/html" in Request(scope).headers.get("accept", ""):
            return match, found
        return Match.NONE, {}


def page_routes(runtime: Runtime, *, send_replay: Callable[[str], None]) -> list[Route]:
    """Return the routes of the pages over this runtime; `send_replay` gives a replay's id to the workers."""
    deps = dashboard_deps(runtime, send_replay=send_replay)
    by_path: dict[str, dict[str, PageEntry]] = {}
    for entry in PAGES:
        by_path.setdefault(entry.path, {})[entry.method] = entry
    return [
        Route("/static/{digest}/{name}", static_endpoint, methods=["GET"]),
        Route("/sign-in", sign_in.endpoint(deps), methods=["GET", "POST"]),
        Route("/sign-out", sign_in.sign_out, methods=["POST"]),
        Route("/language", sign_in.choose_language, methods=["POST"]),
        *(_route(deps, path, entries) for path, entries in by_path.items()),
    ]


def _route(deps: DashboardDeps, path: str, entries: Mapping[str, PageEntry]) -> Route:
    endpoints: dict[str, Any] = {
        method: page_endpoint(deps, entry.handler, entry.right) for method, entry in entries.items()
    }

    async def endpoint(request: Request) -> Any:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    kind = HtmlRoute if path == "/" else Route
    return kind(path, endpoint, methods=list(entries))
