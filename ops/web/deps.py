"""The dependencies of the operators' handlers as one value, built from a runtime here and nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass

from ops.operations.local import LocalOperations, make_operations
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


def operator_deps(
    runtime: Runtime, *, send_replay: Callable[[str], None], now: Callable[[], float]
) -> OperatorDeps:
    """Build the dependencies from a runtime; `now` is in seconds since the epoch."""
    return OperatorDeps(
        runtime=runtime,
        operations=make_operations(runtime, send_replay=send_replay),
        metrics=MetricsReader(runtime, now=now),
        threads=Threads(runtime.metrics.now),
    )
