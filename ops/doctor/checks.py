"""Every check, in the order in which the parts need each other, and inspecting what is stored."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ops.doctor.accounts import check_callback, check_deliveries, check_work
from ops.doctor.findings import Finding
from ops.doctor.rights import check_store_rights, explain_failure
from ops.doctor.server import check_redis
from ops.doctor.settings import check_credentials, check_settings
from ops.doctor.workers import check_broker, check_system
from worker.config import mask_url, refuse_secrets
from worker.errors import StoreUnavailable
from worker.ids import IdGenerator
from worker.ports.deliveries import DeliveryFlaw
from worker.ports.integrity import Inspection, StoreFlaw
from worker.ports.records import AuditEntry
from worker.usecases.health import Health
from worker.wiring import Runtime

if TYPE_CHECKING:
    from celery import Celery


def run_checks(runtime: Runtime, celery: "Celery", *, api: bool = True) -> Iterator[Finding]:
    """Yield findings as they are made: settings, Redis, broker, workers, sweep, then account by account."""
    settings = runtime.settings
    yield from check_settings(settings)
    try:
        yield from check_redis(runtime)
        yield from check_store_rights(runtime.client, settings.prefix)
        is_reachable = True
    except StoreUnavailable as error:
        how, advice = explain_failure(error, "RELATIONS_REDIS_URL")
        yield Finding("redis", "fail", f"{mask_url(settings.redis_url)} {how}: {error}", advice)
        is_reachable = False
    health = _read_health(runtime) if is_reachable else None
    yield from check_broker(celery, settings, health)
    if is_reachable and not health:
        yield Finding("system", "fail", "is not known: Redis refuses what is asked", "Mend what Redis says.")
    if health:
        yield from check_system(health)
    if is_reachable:
        for callback in settings.callbacks.values():
            yield from _guarded(f"callback {callback.name}", check_callback(runtime, callback))
    for account in settings.accounts.values():
        if health:
            yield from _guarded(f"account {account.name}", check_work(runtime, account, health))
        if api:
            yield check_credentials(runtime, account)
    for source in settings.sources if health else ():
        yield from _guarded(f"source {source}", check_deliveries(runtime, source))


def _read_health(runtime: Runtime) -> Health | None:
    try:
        return runtime.read_health()
    except StoreUnavailable:
        return None


def _guarded(subject: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings; what Redis refuses to say is one more, and ends these alone."""
    try:
        yield from findings
    except StoreUnavailable as error:
        yield Finding(subject, "fail", f"is not known: {error}", "Mend what Redis says.")


def inspect_store(
    runtime: Runtime, account: str, *, repair: bool, by: str, on_progress: Callable[[int], None]
) -> Inspection:
    """Check all that is stored of an account, and mend it if asked to; the audit log says who did.

    Nobody works the account meanwhile. Raises Unavailable if a worker does not let go of it.
    """
    refuse_secrets(by=by)
    unreadable = runtime.inspector.check_readable(account, repair=repair)
    if unreadable and not repair:
        return Inspection(flaws=unreadable)
    _note_repair(runtime, account, unreadable, by)  # now: a worker may not let go of the account
    found = runtime.inspector.inspect(
        account, repair=repair, on_progress=lambda what, count: on_progress(count) if what == "jobs" else None
    )
    if repair:
        _note_repair(runtime, account, found.flaws, by)
    return found._replace(flaws=(*unreadable, *found.flaws))


def _note_repair(runtime: Runtime, account: str, flaws: Sequence[StoreFlaw], by: str) -> None:
    """Write into the audit log who had these flaws mended, count them, and let the account be worked."""
    if flaws:
        kinds = Counter(flaw.kind for flaw in flaws)
        what = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        entry = AuditEntry(IdGenerator()(), by, "store repaired", what, count=len(flaws))
        runtime.job_admin.add_audit_entry(account, entry)
        runtime.metrics.add(account, {f"mended:{kind}": count for kind, count in kinds.items()})
        runtime.wake(account, 0.0)


def inspect_deliveries(runtime: Runtime, account: str, *, repair: bool) -> list[DeliveryFlaw]:
    """Check the kept deliveries of the sources that are for an account, and mend them if asked to."""
    sources = [source.name for source in runtime.settings.sources.values() if account in source.account_names]
    return [flaw for name in sources for flaw in runtime.deliveries.inspect(name, repair=repair)]
