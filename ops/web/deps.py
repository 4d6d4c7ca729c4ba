"""The dependencies of the operators' handlers as one value, which `routes` builds from a runtime."""

from dataclasses import dataclass

from ops.operations.local import LocalOperations
from ops.web.metrics import MetricsReader
from producers.portals.http.deps import Threads
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorDeps:
    """A runtime, and what operators look up and do, with times in texts in UTC."""

    runtime: Runtime
    operations: LocalOperations
    metrics: MetricsReader
    threads: Threads

    def account(self, name: str) -> str:
        """Return the name of an account of the settings; raise NotFound for any other."""
        return self.runtime.settings.account(name).name
