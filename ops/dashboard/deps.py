"""What the pages need, built from a runtime here and nowhere else."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ops.dashboard.session import Sessions, SignInLimit
from ops.operations.local import LocalOperations, make_operations
from producers.portals.http.deps import Threads
from producers.portals.http.refusals import RefusalLog
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardDeps:
    """A runtime, what operators look up and do over it, and who has signed in."""

    runtime: Runtime
    operations: LocalOperations
    sessions: Sessions
    sign_in_limit: SignInLimit
    refusals: RefusalLog
    threads: Threads


def dashboard_deps(runtime: Runtime, *, send_replay: Callable[[str], None]) -> DashboardDeps:
    """Return what the pages need, over this runtime; `send_replay` gives a replay's id to the workers."""
    return DashboardDeps(
        runtime=runtime,
        operations=make_operations(runtime, send_replay=send_replay),
        sessions=Sessions(),
        sign_in_limit=SignInLimit(time.monotonic),
        refusals=RefusalLog(runtime),
        threads=Threads(runtime.metrics.now),
    )
