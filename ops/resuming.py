"""Lets a stopped account go on, and says what that did to its pause, its breaker and its pace."""

from collections.abc import Iterator

import msgspec

from ops.serializers.acts import PausedDict
from worker.ports.audit import AuditEntry
from worker.ports.services import Pace
from worker.wiring import Runtime


def describe_resumed(resumed: PausedDict) -> Iterator[str]:
    """Yield what was done, in sentences."""
    account = resumed["account"]
    yield f"{account} goes on." if resumed["was_paused"] else f"{account} was not paused."
    yield from resumed["did"]


def resume_account(runtime: Runtime, account: str, *, by: str, now: float) -> PausedDict:
    """Let the account go on at full pace, whatever stopped it; return how it stood, and what became of it.

    The audit log shows what this changed. `now` is in seconds since the epoch, by the store's clock.
    """
    pace = runtime.limiter.state(account)
    if pace["not_before"] <= now:
        pace = {**pace, "not_before": 0.0}
    did = list(describe_pace(pace))
    note = " ".join(did)
    entry = AuditEntry(runtime.intake().new_id(), by, "resumed", account, note)
    was_paused = runtime.store.resume(account, audit_entry=entry)
    runtime.limiter.reset(account)
    if note and not was_paused:
        runtime.job_admin.add_audit_entry(account, msgspec.structs.replace(entry, count=1))
    return {
        "account": account,
        "paused": False,
        "was_paused": was_paused,
        "breaker_was": pace["breaker"],
        "pace_was": pace["factor"],
        "did": did,
    }


def describe_pace(pace: Pace) -> Iterator[str]:
    """Yield what resuming does to a breaker and a pace like these; nothing if they are as when it began."""
    if pace["breaker"] != "closed":
        state = pace["breaker"].replace("_", " ")
        reason = f" ({pace['reason']})" if pace["reason"] else ""
        yield f"Its breaker was {state}{reason}: it is closed, and requests are sent without a probe."
    if pace["not_before"]:
        yield "The API had asked to wait (Retry-After): that is no longer kept."
    if pace["factor"] != 1:
        yield f"Its pace was {pace['factor']:.0%}: it is full."
