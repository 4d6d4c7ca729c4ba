"""The HTTP interface as an ASGI application: its routes and its description."""

from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from producers.portals.http.api_route import ApiCall, ApiRoute, ResponseDoc, bind
from producers.portals.http.deps import http_deps
from producers.portals.http.endpoint import Endpoint, NoteBody, dispatch, make_endpoint, noted
from producers.portals.http.middleware import CorrelationMiddleware
from producers.portals.http.openapi import Document, OpenApiDict, openapi_document
from producers.portals.http.problems import json_response, problem_response
from producers.portals.http.routes import PORTAL_ROUTES
from worker.contract.quoting import suggest
from worker.wiring import Runtime

LOST: Final = "; a redirect, as from http to https, makes a GET of what is posted"
TAKING: Final = ("/v1/changes", "/webhooks/")  # paths that take changes


def application(
    runtime: Runtime,
    *,
    more_routes: Sequence[ApiRoute] = (),
    pages: Sequence[Route] = (),
    note_body: NoteBody | None = None,
) -> Starlette:
    """Return the application over this runtime.

    `pages` are for browsers and no part of the description; they come before all paths but those that take
    changes. `note_body` is called of every body that was accepted.

    Raises InvalidSettings if a webhook's rules cannot be used.
    """
    deps = http_deps(runtime, is_stopping=lambda: bool(app.state.is_stopping()))
    methods: dict[str, dict[str, Endpoint]] = {}
    for route in _with_description([*bind(PORTAL_ROUTES, deps), *more_routes]):
        endpoint = make_endpoint(route, deps)
        if note_body and route.method == "POST" and route.path.startswith(TAKING):
            endpoint = noted(endpoint, route.path, note_body)
        methods.setdefault(route.path, {})[route.method] = endpoint

    def route_to(path: str) -> Route:
        return Route(path, dispatch(methods[path]), methods=[*methods[path], "OPTIONS"])

    # Routes are tried in their order: first where most calls go, and literal paths before patterns.
    taking = [path for path in methods if path.startswith(TAKING)]
    others = sorted((path for path in methods if path not in taking), key=lambda path: "{" in path)
    app = Starlette(
        routes=[*map(route_to, taking), *pages, *map(route_to, others)],
        middleware=[Middleware(CorrelationMiddleware, new_id=deps.intake.new_id, emit=runtime.emit)],
        exception_handlers={HTTPException: _http_problem},
    )
    # An address has one spelling, and no redirect believes the Host header.
    app.router.redirect_slashes = False
    app.state.is_stopping = lambda: False
    app.state.emit = runtime.emit
    return app


class RecordIdConvertor(Convertor[int]):
    """The id of a record in a path; more digits than a number of the API can have are another path."""

    regex = "[0-9]{1,19}"

    def convert(self, value: str) -> int:
        """Return the number."""
        return int(value)

    def to_string(self, value: int) -> str:
        """Return how a path has it."""
        return str(value)


register_url_convertor("record", RecordIdConvertor())


def _with_description(routes: Sequence[ApiRoute]) -> list[ApiRoute]:
    """Return the routes, and one more that describes them all."""
    response = ResponseDoc("An OpenAPI 3.1 document.", OpenApiDict)
    route = ApiRoute(get_openapi, "GET", "/openapi.json", "This description", {200: response})
    document = openapi_document([*routes, route], version=version("onoffice-relations"))
    return [*routes, *bind([route], document)]


async def get_openapi(document: Document, call: ApiCall[None]) -> Response:
    """Return this description."""
    return json_response({**document, "servers": [{"url": call.request.scope.get("root_path") or "/"}]})


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 registered for these
    detail = error.detail
    if detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"nothing is at this address; {_explain_address(request)}"
    elif detail == HTTPStatus.METHOD_NOT_ALLOWED.phrase:
        allowed = ", ".join(sorted((error.headers or {})["Allow"].split(", ")))
        detail = (
            f"this address takes no {request.method}; use {allowed}{LOST if request.method == 'GET' else ''}"
        )
    return problem_response(error.status_code, detail, headers=error.headers)


def _explain_address(request: Request) -> str:
    """Return what may be meant by an address; nothing of a webhook's, whose further parts may be a secret."""
    path = str(request.scope["path"])
    tidy = f"/{'/'.join(filter(None, path.split('/')))}"
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    if tidy != path and any(
        route.matches({**request.scope, "path": tidy})[0] != Match.NONE for route in routes
    ):
        return "write it with single slashes, and without one at its end"
    below = tidy.removeprefix(request.scope.get("root_path", ""))
    meant = suggest(below, tuple(route.path for route in routes if "{" not in route.path))
    return f"GET /openapi.json has all that there are{meant}"
