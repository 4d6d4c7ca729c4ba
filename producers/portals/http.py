"""The HTTP interface as an application and as a server; what its endpoints do is in `routes`.

Nothing is composed here: the runtime is handed in, with its way to wake a worker.
"""

import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from producers.portals import answers
from producers.portals.routes import Routes
from producers.webhooks.rules import check_rules
from worker.errors import RelationsError
from worker.ports import Events
from worker.wiring import Runtime

BACKLOG: Final = 2048  # connections that wait to be taken
PARTING: Final = 15  # seconds requests may take to end when the server stops

Endpoint = Callable[[Request], Awaitable[Response]]


def application(runtime: Runtime, *, now: Callable[[], float] = time.time) -> Starlette:
    """The interface over this runtime; raises InvalidSettings if a webhook's rules cannot be read. `now` in seconds."""
    check_rules(runtime.settings)
    routes = Routes(runtime, now)
    table: list[tuple[str, Endpoint, list[str]]] = [
        ("/v1/changes", routes.post_changes, ["POST"]),
        ("/v1/jobs", routes.get_jobs, ["GET"]),
        ("/v1/jobs/{id}", routes.get_job, ["GET"]),
        ("/webhooks/{source}", routes.webhook, ["GET", "POST"]),
        ("/healthz", routes.healthz, ["GET"]),
        ("/readyz", routes.readyz, ["GET"]),
    ]
    return Starlette(
        routes=[Route(path, _answering(endpoint, runtime.say), methods=methods) for path, endpoint, methods in table],
        exception_handlers={HTTPException: _on_http},
    )


def _answering(endpoint: Endpoint, say: Events) -> Endpoint:
    """The endpoint with an answer for every error; one that got past here would cost the client its connection."""

    async def answering(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException:
            raise
        except ClientDisconnect:
            return answers.problem(400, "the connection ended before the body did")
        except Exception as error:
            if isinstance(error, RelationsError) and answers.status_of(error) != HTTPStatus.INTERNAL_SERVER_ERROR:
                return answers.refused(error)
            say("request.failed", path=request.url.path, error=type(error).__name__, exc_info=error)
            return answers.problem(500, answers.OURS)

    return answering


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 registered for these
    return answers.problem(error.status_code, error.detail, headers=error.headers)


class _Uvicorn(uvicorn.Server):
    """Ends in peace: uvicorn's own raises the signal again after the last answer, so that a stopped service looks like a killed one."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the server, where that can be asked for."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Server:
    """The application on a socket that is open once this exists: `port` is known and connections wait until `run`.

    `run` serves until SIGINT or SIGTERM in the main thread, or `stop` from anywhere; as a context manager it serves from a thread.
    """

    def __init__(self, app: Starlette, *, host: str = "127.0.0.1", port: int = 8080) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # An answer is two small writes, which Nagle's algorithm would keep 40 ms apart; connections inherit this.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            backlog=BACKLOG,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=PARTING,
        )
        self._server = _Uvicorn(config)
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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        self._thread.join()


def serve(runtime: Runtime, *, host: str = "127.0.0.1", port: int = 8080, started: Callable[[Server], None] | None = None) -> None:
    """Serve the interface until the process is told to end; `started` is handed the server when its port (0: any free one) is open."""
    server = Server(application(runtime), host=host, port=port)
    runtime.say("api.started", url=server.url)
    if started:
        started(server)
    server.run()
    runtime.say("api.stopped", url=server.url)
