"""The HTTP interface as an application and as a server; what its endpoints do is in `routes`.

Nothing is composed here: the runtime is handed in, with its way to wake a worker.
"""

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from producers.portals import answers
from producers.portals.routes import Routes
from producers.webhooks.rules import check_rules
from worker.errors import RelationsError
from worker.wiring import Runtime

BACKLOG: Final = 2048  # connections that wait to be taken
PARTING: Final = 15  # seconds requests may take to end when the server stops


def application(runtime: Runtime, *, now: Callable[[], float] = time.time) -> Starlette:
    """The interface over this runtime; raises InvalidSettings if a webhook's rules cannot be read. `now` in seconds."""
    check_rules(runtime.settings)
    routes = Routes(runtime, now)

    async def on_error(_: Request, error: Exception) -> Response:
        runtime.say("request.failed", error=type(error).__name__)
        return answers.problem(500, answers.OURS)

    return Starlette(
        routes=[
            Route("/v1/changes", routes.post_changes, methods=["POST"]),
            Route("/v1/jobs", routes.get_jobs, methods=["GET"]),
            Route("/v1/jobs/{id}", routes.get_job, methods=["GET"]),
            Route("/webhooks/{source}", routes.webhook, methods=["GET", "POST"]),
            Route("/healthz", routes.healthz, methods=["GET"]),
            Route("/readyz", routes.readyz, methods=["GET"]),
        ],
        exception_handlers={RelationsError: _on_refusal, HTTPException: _on_http, Exception: on_error},
    )


async def _on_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, RelationsError)  # noqa: S101 registered for these
    return answers.refused(error)


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 registered for these
    return answers.problem(error.status_code, error.detail, headers=error.headers)


class Server:
    """The application on a socket that is open once this exists: `port` is known and connections wait until `run`.

    `run` serves until SIGINT or SIGTERM in the main thread, or `stop` from anywhere; as a context manager it serves from a thread.
    """

    def __init__(self, app: Starlette, *, host: str = "127.0.0.1", port: int = 8080) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
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
        self._server = uvicorn.Server(config)
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
