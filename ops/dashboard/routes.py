"""The routes of all pages; `relations api` serves them beside the interface for programs."""

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import Scope

from ops.dashboard import pages, sign_in
from ops.dashboard.endpoint import page_endpoint, path_of, static_endpoint, to_form_page, unknown_page
from ops.dashboard.page import DashboardDeps, PageRoute
from ops.dashboard.session import Sessions, SignInLimit
from ops.operations.local import make_operations
from producers.portals.http.deps import Threads
from producers.portals.http.endpoint import dispatch
from producers.portals.http.refusals import RefusalLog
from worker.wiring import Runtime

PAGES: Final = tuple(
    route
    for module in iter_modules(pages.__path__, "ops.dashboard.pages.")
    for route in vars(import_module(module.name)).values()
    if isinstance(route, PageRoute)
)


BROWSER: Final = "text/html"  # which browsers ask for, and few programs do
FOR_PROGRAMS: Final = "/v1/"  # below which even those get what programs read: Java's own client asks for HTML


class HtmlRoute(Route):
    """A route for browsers, which ask for HTML; programs that ask for the same address pass it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the request is for this route: never partly, so that others have their turn."""
        match, found = super().matches(scope)
        if match is Match.FULL and BROWSER in Request(scope).headers.get("accept", ""):
            return match, found
        return Match.NONE, {}


class LastHtmlRoute(HtmlRoute):
    """A route for browsers that is taken where no other fits."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return that the request is partly for this route: one that is for another goes there."""
        if path_of(Request(scope)).startswith(FOR_PROGRAMS):
            return Match.NONE, {}
        match, found = super().matches(scope)
        return (Match.PARTIAL, found) if match is Match.FULL else (match, found)


def page_routes(runtime: Runtime, *, send_replay: Callable[[str], None]) -> list[Route]:
    """Return the routes of the pages over this runtime; `send_replay` gives a replay's id to the workers."""
    deps = DashboardDeps(
        runtime=runtime,
        operations=make_operations(runtime, send_replay=send_replay),
        sessions=Sessions(),
        sign_in_limit=SignInLimit(time.monotonic),
        refusals=RefusalLog(runtime),
        threads=Threads(runtime.metrics.now),
    )
    by_path: dict[str, dict[str, PageRoute]] = {}
    for entry in PAGES:
        by_path.setdefault(entry.path, {})[entry.method] = entry
    return [
        Route("/static/{digest}/{name}", static_endpoint, methods=["GET"]),
        Route("/sign-in", sign_in.endpoint(deps), methods=["GET", "POST"]),
        Route("/sign-out", sign_in.sign_out, methods=["POST"]),
        Route("/language", sign_in.choose_language, methods=["POST"]),
        *(_route(deps, path, entries) for path, entries in by_path.items()),
        *(HtmlRoute(path, to_form_page, methods=["GET"]) for path in ("/sign-out", "/language")),
        *(HtmlRoute(path, to_form_page, methods=["GET"]) for path in by_path if "GET" not in by_path[path]),
        LastHtmlRoute("/{path:path}", unknown_page(deps), methods=["GET"]),
    ]


def _route(deps: DashboardDeps, path: str, entries: Mapping[str, PageRoute]) -> Route:
    endpoints = {
        method: page_endpoint(deps, entry, takes_forms_only="GET" not in entries)
        for method, entry in entries.items()
    }
    kind = HtmlRoute if path == "/" else Route
    return kind(path, dispatch(endpoints), methods=list(entries))
