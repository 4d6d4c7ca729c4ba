"""The HTTP interface as an ASGI application: routing, correlation ids, and a response for every error."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.errors import Forbidden, Unauthorized
from producers.portals.http.access import check_call
from producers.portals.http.api_route import ApiCall, ApiRoute, ResponseDoc, bind
from producers.portals.http.deps import HttpDeps, http_deps
from producers.portals.http.openapi import Document, OpenApiDict, openapi_document
from producers.portals.http.problems import (
    INTERNAL_ERROR,
    error_response,
    json_response,
    problem_response,
    status_of,
)
from producers.portals.http.routes import PORTAL_ROUTES
from producers.portals.http.server import KEEP_ALIVE_SECONDS, Server
from worker import log
from worker.config import HOLDS_SECRET, holds_secret
from worker.contract import correlation_of, traceparent_of
from worker.errors import Fault, RelationsError
from worker.ports import EventSink
from worker.wiring import Runtime

BODY_SECONDS: Final = 60.0  # that a body may take to come

TAKING: Final = ("/v1/changes", "/webhooks/")  # paths that take changes

Endpoint = Callable[[Request], Awaitable[Response]]
NoteBody = Callable[[str, int, int, Mapping[str, str]], None]
"""Takes the route, status, start (ns since the epoch) and headers of a body that was accepted."""


def application(
    runtime: Runtime,
    *,
    now: Callable[[], float] = time.time,
    body_seconds: float = BODY_SECONDS,
    more_routes: Sequence[ApiRoute] = (),
    pages: Sequence[Route] = (),
    note_body: NoteBody | None = None,
) -> Starlette:
    """Return the application over this runtime; `now` is in seconds since the epoch.

    `pages` are for browsers, come first, and are no part of the description. `note_body` is called of every
    body that was accepted.

    Raises InvalidSettings if a webhook's rules cannot be used.
    """
    deps = http_deps(
        runtime, now=now, body_seconds=body_seconds, is_stopping=lambda: bool(app.state.is_stopping())
    )
    methods: dict[str, dict[str, Endpoint]] = {}
    for route in _with_description([*bind(PORTAL_ROUTES, deps), *more_routes]):
        endpoint = _endpoint(route, deps)
        if note_body and route.method == "POST" and route.path.startswith(TAKING):
            endpoint = _noted(endpoint, route.path, note_body)
        methods.setdefault(route.path, {})[route.method] = endpoint
    literal_paths_first = sorted(methods, key=lambda path: "{" in path)
    app = Starlette(
        routes=[
            *pages,
            *(
                Route(path, _dispatch(methods[path]), methods=[*methods[path], "OPTIONS"])
                for path in literal_paths_first
            ),
        ],
        middleware=[Middleware(CorrelationMiddleware, new_id=deps.intake.new_id, emit=deps.emit)],
        exception_handlers={HTTPException: _http_problem},
    )
    # An address has one spelling, and no redirect believes the Host header.
    app.router.redirect_slashes = False
    app.state.is_stopping = lambda: False
    return app


def serve(
    runtime: Runtime,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    keep_alive: float = KEEP_ALIVE_SECONDS,
    root_path: str = "",
    more_routes: Sequence[ApiRoute] = (),
    pages: Sequence[Route] = (),
    note_body: NoteBody | None = None,
    on_start: Callable[[Server], None] | None = None,
) -> None:
    """Serve the interface until the process is told to end; port 0 takes any free one.

    `keep_alive` is how many seconds an idle connection is kept, `root_path` the path above the interface.
    `on_start` gets the server when its port is open.
    """
    app = application(runtime, more_routes=more_routes, pages=pages, note_body=note_body)
    server = Server(app, host=host, port=port, keep_alive=keep_alive, root_path=root_path)
    runtime.emit("api.started", url=server.url)
    if on_start:
        on_start(server)
    server.run()
    runtime.emit("api.stopped", url=server.url)


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


class CorrelationMiddleware:
    """Gives every request a correlation id, its own or a fresh one, which the log and the response carry.

    An error that got past everything else is logged here, once, and answered.
    """

    def __init__(self, app: ASGIApp, new_id: Callable[[], str], emit: EventSink) -> None:
        self._app, self._new_id, self._emit = app, new_id, emit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = Headers(scope=scope)
        # A caller that traces is followed by its trace: proxies give every request an X-Request-Id.
        trace = traceparent_of(headers.get("traceparent"))
        given = correlation_of(headers.get("x-correlation-id"), trace, headers.get("x-request-id"))
        is_refused = holds_secret(given)
        correlation = self._new_id() if is_refused or not given else given
        scope["state"] = {**scope.get("state", {}), "correlation": correlation}

        is_answering = False

        async def send_with_id(message: Message) -> None:
            nonlocal is_answering
            is_answering = True
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Correlation-Id"] = correlation
            await send(message)

        if is_refused:
            refused = [Fault("X-Correlation-Id", HOLDS_SECRET)]
            await problem_response(422, str(refused[0]), faults=refused)(scope, receive, send_with_id)
            return
        with log.context(correlation=correlation):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:  # a bug of ours, or of a library
                path = _shown_path(scope)
                self._emit("request.failed", path=path, error=type(error).__name__, exc_info=error)
                if not is_answering:
                    await problem_response(500, INTERNAL_ERROR)(scope, receive, send_with_id)


def _shown_path(scope: Scope) -> str:
    """Return the path of a request for the log: what follows the name of a webhook may be a secret."""
    path = str(scope.get("path", ""))
    return "/".join(path.split("/")[:3]) if path.startswith("/webhooks/") else path


def _with_description(routes: Sequence[ApiRoute]) -> list[ApiRoute]:
    """Return the routes, and one more that describes them all."""
    response = ResponseDoc("An OpenAPI 3.1 document.", OpenApiDict)
    route = ApiRoute(get_openapi, "GET", "/openapi.json", "This description", {200: response})
    document = openapi_document([*routes, route], version=version("onoffice-relations"))
    return [*routes, *bind([route], document)]


async def get_openapi(document: Document, call: ApiCall[None]) -> Response:
    """Return this description."""
    return json_response({**document, "servers": [{"url": call.request.scope.get("root_path") or "/"}]})


def _dispatch(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """Return the endpoint that calls the one for a request's method, and answers OPTIONS."""
    allowed = ", ".join([*endpoints, *(["HEAD"] if "GET" in endpoints else []), "OPTIONS"])

    async def dispatch(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed, **_allow_sender(request)})
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return dispatch


def _allow_sender(request: Request) -> dict[str, str]:
    """Return the consent that senders of CloudEvents ask for before they send (HTTP Web Hooks, section 4)."""
    origin = request.headers.get("webhook-request-origin", "")
    is_asked = origin and "source" in request.path_params
    return {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"} if is_asked else {}


def _endpoint(route: ApiRoute, deps: HttpDeps) -> Endpoint:
    """Return the endpoint of a route; an error without a response would cost the client its connection."""

    async def endpoint(request: Request) -> Response:
        try:
            call = await check_call(route, request, deps.current_settings, body_seconds=deps.body_seconds)
            response: Response = await route.handler(call)
        except HTTPException:
            raise
        except ClientDisconnect:
            return problem_response(400, "the connection ended before the body did")
        except Exception as error:
            if isinstance(error, Unauthorized | Forbidden) and route.right:
                deps.refusals.note_key(error, route.path)
            if isinstance(error, RelationsError) and status_of(error) != HTTPStatus.INTERNAL_SERVER_ERROR:
                return error_response(error)
            deps.emit("request.failed", path=route.path, error=type(error).__name__, exc_info=error)
            return problem_response(500, INTERNAL_ERROR)
        return response

    return endpoint


def _noted(endpoint: Endpoint, path: str, note_body: NoteBody) -> Endpoint:
    """Return the endpoint, which also notes each body that it accepts."""

    async def noted(request: Request) -> Response:
        started = time.time_ns()
        response = await endpoint(request)
        if response.status_code < HTTPStatus.MULTIPLE_CHOICES:
            note_body(path, response.status_code, started, request.headers)
        return response

    return noted


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 registered for these
    return problem_response(error.status_code, error.detail, headers=error.headers)
