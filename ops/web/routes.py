"""All routes of operators; `relations api` serves them beside those for portals."""

from collections.abc import Callable
from typing import Final

from ops.operations.local import make_operations
from ops.web.deps import OperatorDeps
from ops.web.handlers import accounts, callbacks, deliveries, jobs, relations, replays, system
from ops.web.metrics import MetricsReader
from producers.portals.http.api_route import ApiRoute, bind
from producers.portals.http.deps import Threads
from worker.wiring import Runtime

OPERATOR_ROUTES: Final = tuple(
    route
    for module in (relations, jobs, accounts, system, replays, deliveries, callbacks)
    for route in vars(module).values()
    if isinstance(route, ApiRoute)
)


def operator_routes(
    runtime: Runtime, *, send_replay: Callable[[str], None], now: Callable[[], float] | None = None
) -> list[ApiRoute]:
    """Return the routes over this runtime.

    `send_replay` sends a replay's id to the workers, `now` is in seconds since the epoch: the store's time.
    """
    now = now or (lambda: runtime.metrics.now() / 1e6)
    deps = OperatorDeps(
        runtime=runtime,
        operations=make_operations(runtime, send_replay=send_replay),
        metrics=MetricsReader(runtime, now=now),
        threads=Threads(runtime.metrics.now),
    )
    return bind(OPERATOR_ROUTES, deps)
