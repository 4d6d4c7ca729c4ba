"""The dependencies of the operators' handlers as one value, built from a runtime here and nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC

from ops.operations.local import LocalOperations
from ops.web.metrics import MetricsReader
from producers.portals.http.threads import Threads
from producers.services import Services, build_services
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorDeps:
    """A runtime, the services over it, and what operators look up and do, with times in texts in UTC."""

    runtime: Runtime
    services: Services
    operations: LocalOperations
    metrics: MetricsReader
    threads: Threads = field(default_factory=Threads)

    def account(self, name: str) -> str:
        """Return the name of an account of the settings; raise NotFound for any other."""
        return self.runtime.settings.account(name).name


def operator_deps(
    runtime: Runtime, *, send_replay: Callable[[str], None], now: Callable[[], float]
) -> OperatorDeps:
    """Build the dependencies from a runtime; `now` is in seconds since the epoch."""
    services = build_services(runtime)
    return OperatorDeps(
        runtime=runtime,
        services=services,
        operations=LocalOperations(runtime=runtime, services=services, send_replay=send_replay, zone=UTC),
        metrics=MetricsReader(runtime, now=now),
    )
