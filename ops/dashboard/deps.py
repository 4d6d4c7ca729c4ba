"""What the pages need as one value, which `routes` builds from a runtime."""

from dataclasses import dataclass

from ops.dashboard.session import Sessions, SignInLimit
from ops.operations.local import LocalOperations
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
