"""What operators look up in a running system, the same for the command line and for the HTTP interface."""

from collections.abc import Collection
from datetime import tzinfo

from ops.explain import ExplanationDict, collect_evidence, explain
from ops.explain.text import Sentence, format_instant
from ops.serializers.accounts import AccountDict, PaceDict, PauseDict, WaitsDict
from producers.webhooks.redelivery import is_visible
from worker.config import Account
from worker.contract import Relation, resolve
from worker.contract.message import MAX_ID
from worker.errors import Fault, Invalid, NotFound
from worker.ports.deliveries import Deliveries, KeptDelivery
from worker.ports.waiting import ACCOUNT_REASONS, Pause, Waiting
from worker.usecases.waiting import why_account_waits
from worker.wiring import Runtime


def resolve_relation(type_name: str, parent: int, child: int) -> Relation:
    """Return the relation under its canonical type, which may swap parent and child; raises NotFound.

    Raises Invalid for what is no id of a record.
    """
    if bad := [side for side, id_ in (("parent", parent), ("child", child)) if not 1 <= id_ <= MAX_ID]:
        raise Invalid([Fault(side, "expected the id of a record, a positive whole number") for side in bad])
    resolved = resolve(type_name)
    if resolved.swapped:
        parent, child = child, parent
    return Relation(resolved.type.name, parent, child)


def explain_relation(
    runtime: Runtime, account: Account, relation: Relation, *, zone: tzinfo
) -> ExplanationDict:
    """Explain the relation by everything that is kept about it; its texts are sentences."""
    stats = runtime.metrics.account_stats([account.name])[account.name]
    evidence = collect_evidence(
        runtime.store,
        runtime.queries,
        account.name,
        relation,
        now=runtime.metrics.now(),
        since=stats.oldest if stats.backlog else None,
        upsert=account.on_modify_absent == "create",
        why_not_sending=why_not_sending(runtime, account, zone),
    )
    return explain(evidence, zone=zone)


def why_not_sending(runtime: Runtime, account: Account, zone: tzinfo) -> str:
    """Return why nothing of the account is sent now, and until when; empty if it is sent."""
    waiting = why_account_waits(runtime.waits.view(account.name))
    return describe_stop(_serialize_waiting(waiting, zone)) if waiting else ""


def describe_stop(waits: WaitsDict | None) -> str:
    """Return why nothing of an account is sent and until when, by the `waits` of its status, or nothing."""
    if not waits or waits["reason"] not in ACCOUNT_REASONS:
        return ""
    why = Sentence(waits["message"])
    until = waits["until"]
    return Sentence("{why}; until {until}", why=why, until=Sentence(until)) if until else why


def get_account_status(runtime: Runtime, account: Account, zone: tzinfo) -> AccountDict:
    """Return an account's backlog, jobs by state, pause and pace as plain data; times in this zone."""
    stats = runtime.metrics.account_stats([account.name])[account.name]
    waiting = runtime.waits.of_account(account.name)
    return {
        "account": account.name,
        "mode": account.mode,
        "backlog": stats.backlog,
        "oldest": format_instant(stats.oldest, zone) if stats.oldest else None,
        "open": stats.open,
        "jobs": stats.open_jobs,
        "unresolved": stats.unresolved,
        "failed": stats.counts.get("failed", 0),
        "succeeded": stats.counts.get("succeeded", 0),
        "superseded": stats.counts.get("superseded", 0),
        "accepted": stats.counts.get("accepted", 0),
        "paused": _serialize_pause(runtime.store.get_pause(account.name), zone),
        "pace": _get_pace(runtime, account.name, zone),
        "waits": _serialize_waiting(waiting, zone) if waiting else None,
    }


def find_delivery(deliveries: Deliveries, delivery_id: str, allowed: Collection[str] | None) -> KeptDelivery:
    """Return a delivery; raise NotFound for one that is not for the `allowed` accounts (None: any), too."""
    found = deliveries.get(delivery_id)
    if found is None or not is_visible(found.delivery, allowed):
        raise NotFound(f'there is no delivery "{delivery_id}" (any more)')
    return found


def _serialize_waiting(waiting: Waiting, zone: tzinfo) -> WaitsDict:
    return {
        "reason": waiting.reason,
        "message": waiting.message,
        "until": format_instant(waiting.until, zone) if waiting.until else None,
    }


def _serialize_pause(pause: Pause | None, zone: tzinfo) -> PauseDict | None:
    if pause is None:
        return None
    return {
        "reason": pause.reason,
        "detail": pause.detail,
        "since": format_instant(pause.since, zone),
        "until": format_instant(pause.until, zone) if pause.until else "",
    }


def _get_pace(runtime: Runtime, account: str, zone: tzinfo) -> PaceDict:
    """Return the limiter's state: share of the full pace, breaker, and until when nothing is sent."""
    state = runtime.limiter.state(account)
    until = max(float(state["open_until"]), float(state["not_before"]))
    return {
        "factor": state["factor"],
        "breaker": state["breaker"],
        "reason": state["reason"],
        "until": format_instant(round(until * 1e6), zone) if until else "",
    }
