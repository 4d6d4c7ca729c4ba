"""The HTTP interface as an application and as a server; which routes there are is in `table`, what they do in `routes`.

Nothing is composed here: the runtime is handed in, with its way to wake a worker.
"""

import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from producers.portals.http import problems
from producers.portals.http.handlers import SLOW, Routes
from producers.portals.http.openapi import Operation
from producers.portals.http.requests import correlation
from producers.portals.http.routes import TABLE, Handler, described
from producers.portals.http.server import BACKLOG, HEAD_SECONDS, Uvicorn, configured
from producers.webhooks.mapping import check_rules
from worker import log
from worker.errors import RelationsError
from worker.ports import EventSink
from worker.wiring import Runtime

Endpoint = Callable[[Request], Awaitable[Response]]


def application(
    runtime: Runtime,
    *,
    now: Callable[[], float] = time.time,
    slow: float = SLOW,
    further: Sequence[tuple[Operation, Handler]] = (),
) -> Starlette:
    """The interface over this runtime, with `further` routes; raises InvalidSettings if a webhook's rules cannot be read.

    `now` gives seconds.
    """
    check_rules(runtime.settings)
    app = Starlette(exception_handlers={HTTPException: _on_http})
    app.router.redirect_slashes = (
        False  # an address has one spelling, and no redirect believes the Host header
    )
    app.state.leaving = lambda: False
    routes = Routes(runtime, now, slow, lambda: bool(app.state.leaving()))
    methods: dict[str, dict[str, Endpoint]] = {}
    name = runtime.intake().new_id
    routes.described = described([*TABLE, *further])
    for operation, handler in (*TABLE, *further):
        methods.setdefault(operation.path, {})[operation.method] = _correlated(
            _answering(partial(handler, routes), runtime.emit), name
        )
    spelled_out_first = sorted(methods.items(), key=lambda each: "{" in each[0])
    app.router.routes += [
        Route(path, _chosen(endpoints), methods=[*endpoints, "OPTIONS"])
        for path, endpoints in spelled_out_first
    ]
    return app


def _chosen(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """The endpoint for a request's method; OPTIONS is told which there are."""
    allowed = ", ".join([*endpoints, *(["HEAD"] if "GET" in endpoints else []), "OPTIONS"])

    async def chosen(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed})
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return chosen


def _correlated(endpoint: Endpoint, name: Callable[[], str]) -> Endpoint:
    """The endpoint with a name for every request, the client's own or a fresh one: said in each line of the log, and in the answer."""

    async def correlated(request: Request) -> Response:
        request.state.correlation = said = correlation(request, name)
        with log.bound(correlation=said):
            response = await endpoint(request)
        response.headers["X-Correlation-Id"] = said
        return response

    return correlated


def _answering(endpoint: Endpoint, emit: EventSink) -> Endpoint:
    """The endpoint with an answer for every error; one that got past here would cost the client its connection."""

    async def answering(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException:
            raise
        except ClientDisconnect:
            return problems.problem(400, "the connection ended before the body did")
        except Exception as error:
            if (
                isinstance(error, RelationsError)
                and problems.status_of(error) != HTTPStatus.INTERNAL_SERVER_ERROR
            ):
                return problems.refused(error)
            emit("request.failed", path=request.url.path, error=type(error).__name__, exc_info=error)
            return problems.problem(500, problems.OURS)

    return answering


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 registered for these
    return problems.problem(error.status_code, error.detail, headers=error.headers)


class Server:
    """The application on a socket that is open once this exists: `port` is known and connections wait until `run`.

    `run` serves until SIGINT or SIGTERM in the main thread, or `stop` from anywhere; as a context manager it serves from a thread.
    """

    def __init__(
        self, app: Starlette, *, host: str = "127.0.0.1", port: int = 8080, head_seconds: float = HEAD_SECONDS
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # An answer is two small writes, which Nagle's algorithm would keep 40 ms apart; connections inherit this.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._server = server = Uvicorn(configured(app, head_seconds=head_seconds))
        app.state.leaving = lambda: server.should_exit
        self._thread = threading.Thread(target=self.run, name="http")

    def run(self) -> None:
        """Serve; requests that have begun are answered before it returns."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Let `run` return, soon."""
        self._server.should_exit = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join()


def serve(
    runtime: Runtime,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    further: Sequence[tuple[Operation, Handler]] = (),
    started: Callable[[Server], None] | None = None,
) -> None:
    """Serve the interface until the process is told to end; `started` is handed the server when its port (0: any free one) is open."""
    server = Server(application(runtime, further=further), host=host, port=port)
    runtime.emit("api.started", url=server.url)
    if started:
        started(server)
    server.run()
    runtime.emit("api.stopped", url=server.url)
