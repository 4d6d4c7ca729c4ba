"""Inspects what is stored of an account, and mends what contradicts itself if asked to."""

from collections import Counter
from collections.abc import Callable

from worker.clock import IdGenerator
from worker.ports.audit import AuditEntry
from worker.ports.deliveries import DeliveryFlaw
from worker.ports.integrity import Inspection
from worker.wiring import Runtime


def inspect_store(
    runtime: Runtime, account: str, *, repair: bool, by: str, on_progress: Callable[[int], None]
) -> Inspection:
    """Check all that is stored of an account, and mend it if asked to; the audit log says who did.

    Nobody works the account meanwhile. Raises Unavailable if a worker does not let go of it.
    """
    found = runtime.inspector.inspect(
        account, repair=repair, on_progress=lambda what, count: on_progress(count) if what == "jobs" else None
    )
    if repair and found.flaws:
        kinds = Counter(flaw.kind for flaw in found.flaws)
        what = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        entry = AuditEntry(IdGenerator()(), by, "store repaired", what, count=len(found.flaws))
        runtime.job_admin.add_audit_entry(account, entry)
        runtime.metrics.add(account, {f"mended:{kind}": count for kind, count in kinds.items()})
        runtime.wake(account, 0.0)
    return found


def inspect_deliveries(runtime: Runtime, account: str, *, repair: bool) -> list[DeliveryFlaw]:
    """Check the kept deliveries of the sources that are for an account, and mend them if asked to."""
    sources = [source.name for source in runtime.settings.sources.values() if account in source.account_names]
    return [flaw for name in sources for flaw in runtime.deliveries.inspect(name, repair=repair)]
