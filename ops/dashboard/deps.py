"""What the pages need, built from a runtime here and nowhere else."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ops.dashboard.page import Visit
from ops.dashboard.session import Sessions, SignInLimit
from ops.operations.local import LocalOperations
from producers.portals.http.deps import Threads
from producers.portals.http.refusals import RefusalLog
from producers.services import Services, build_services
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardDeps:
    """A runtime and the services over it; `send_replay` gives a replay's id to the workers."""

    runtime: Runtime
    services: Services
    send_replay: Callable[[str], None]
    sessions: Sessions
    sign_in_limit: SignInLimit
    refusals: RefusalLog
    threads: Threads

    def operations(self, visit: Visit) -> LocalOperations:
        """Return what operators look up and do, with texts in the zone of a visit."""
        return LocalOperations(
            runtime=self.runtime, services=self.services, send_replay=self.send_replay, zone=visit.zone
        )


def dashboard_deps(runtime: Runtime, *, send_replay: Callable[[str], None]) -> DashboardDeps:
    """Return what the pages need, over this runtime."""
    return DashboardDeps(
        runtime=runtime,
        services=build_services(runtime),
        send_replay=send_replay,
        sessions=Sessions(),
        sign_in_limit=SignInLimit(time.monotonic),
        refusals=RefusalLog(runtime),
        threads=Threads(runtime.metrics.now),
    )
