"""Keys and accounts: the backlog of each, its jobs by state, its pause, its pace, and why nothing is sent."""

from typing import TypedDict

from ops.explain.text import Zone, format_instant
from ops.serializers import write_document
from worker.config import Account, Key
from worker.ports.metrics import AccountStats
from worker.ports.pace import Pace, Pause, Waiting, WaitReason


class PauseDict(TypedDict):
    """Why an account is paused; `until` is empty where an operator has to resume it."""

    reason: str
    detail: str
    since: str
    until: str


class PaceDict(TypedDict):
    """The share of an account's full pace, its breaker, and until when nothing is sent."""

    factor: float
    breaker: str
    reason: str
    until: str


class WaitsDict(TypedDict):
    """Why nothing of an account is sent now; `until` is null where somebody has to act, or it is its turn."""

    reason: WaitReason
    message: str
    until: str | None


class AccountDict(TypedDict):
    """An account: its backlog, its jobs by state, its pause, its pace, and why nothing is sent now."""

    account: str
    mode: str
    backlog: int
    oldest: str | None
    open: int
    jobs: dict[str, int]
    unresolved: int
    failed: int
    succeeded: int
    superseded: int
    accepted: int
    paused: PauseDict | None
    pace: PaceDict
    waits: WaitsDict | None


class KeyDict(TypedDict):
    """A key: what it may do, for which accounts."""

    name: str
    can: list[str]
    accounts: list[str]


class AccountsDict(TypedDict):
    """The key, its accounts in the order of the settings, and the sums of their numbers by name."""

    accounts: list[AccountDict]
    key: KeyDict
    totals: dict[str, int]


def serialize_key(key: Key) -> KeyDict:
    """Return what a key may do, for which accounts, as JSON; nothing of the key itself."""
    return {"name": key.name, "can": list(key.can), "accounts": list(key.accounts)}


def serialize_account(
    account: Account,
    stats: AccountStats,
    pace: Pace,
    waiting: Waiting | None,
    *,
    now: int,
    zone: Zone,
) -> AccountDict:
    """Return how an account stands now (µs) as JSON; times are of this zone."""
    pause = stats.pause if stats.pause and not stats.pause.is_over(now) else None
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
        "paused": _serialize_pause(pause, zone) if pause else None,
        "pace": _serialize_pace(pace, zone),
        "waits": serialize_waiting(waiting, zone) if waiting else None,
    }


def _serialize_pause(pause: Pause, zone: Zone) -> PauseDict:
    until = format_instant(pause.until, zone) if pause.until else ""
    return write_document(PauseDict, pause, since=format_instant(pause.since, zone), until=until)


def _serialize_pace(pace: Pace, zone: Zone) -> PaceDict:
    until = max(float(pace["open_until"]), float(pace["not_before"]))
    return {
        "factor": pace["factor"],
        "breaker": pace["breaker"],
        "reason": pace["reason"],
        "until": format_instant(round(until * 1e6), zone) if until else "",
    }


def serialize_waiting(waiting: Waiting, zone: Zone) -> WaitsDict:
    """Return why nothing of an account is sent as JSON."""
    until = format_instant(waiting.until, zone) if waiting.until else None
    return write_document(WaitsDict, waiting, until=until)
