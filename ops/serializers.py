"""What operators are shown, as plain data: the same for the command line's `--json` and for the HTTP interface."""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

import msgspec

from ops.explain.relation import WITHOUT_CODE
from ops.explain.words import instant
from worker.config import Account
from worker.contract import write_instant
from worker.onoffice.codes import advice, describe
from worker.ports import OPEN_STATES, AuditEntry, FailureGroup, Pause, Replay, RequestRecord
from worker.wiring import Runtime


def failure_json(account: str, failure: FailureGroup) -> dict[str, Any]:
    """A group of failures as JSON."""
    return {
        "account": account,
        "code": failure.code,
        "class": failure.error,
        "message": said(failure),
        "relationtype": failure.type or None,
        "jobs": failure.jobs,
        "first": write_instant(failure.first),
        "last": write_instant(failure.last),
        "example": failure.example,
        "todo": todo(failure),
    }


def said(failure: FailureGroup) -> str:
    """What it is, in words."""
    return describe(failure.code) if failure.code else failure.error


def todo(failure: FailureGroup) -> str:
    """What to do about it."""
    return todo_of(failure.code, failure.error)


def todo_of(code: int, error: str) -> str:
    """What to do about a code, or without one about a class of errors."""
    return advice(code) if code else WITHOUT_CODE.get(error, "Replay it when its cause is gone.")


def request_json(request: RequestRecord) -> dict[str, Any]:
    """A request as JSON."""
    actions = [
        {
            "action": action.kind,
            "relationtype": action.type,
            "parentid": list(action.parents),
            "childid": list(action.children),
            "relationinfo": dict(action.info),
            "answer": {"verdict": verdict, "code": code, "message": message},
        }
        for action, (verdict, code, message) in zip(request.actions, request.answers, strict=False)
    ]
    return {
        "id": request.id,
        "at": write_instant(request.at),
        "status": request.status,
        "seconds": request.seconds,
        "message": request.message,
        "observed": request.observed,
        "correlations": list(request.correlations),
        "actions": actions,
    }


def replay_json(replay: Replay, became: Mapping[str, int] | None = None) -> dict[str, Any]:
    """A replay as JSON; times are RFC 3339, null while they are not there yet. `became` counts its jobs by what they are now."""
    plain: dict[str, Any] = msgspec.to_builtins(replay) | ({} if became is None else {"became": dict(became)})
    return plain | {
        name: write_instant(plain[name]) if plain[name] else None
        for name in ("made_at", "run_at", "finished_at")
    }


def deed_json(deed: AuditEntry) -> dict[str, Any]:
    """A deed as JSON."""
    return {
        "at": write_instant(deed.at),
        "by": deed.by,
        "act": deed.act,
        "what": deed.what,
        "count": deed.count,
        "note": deed.note,
    }


def account_json(runtime: Runtime, account: Account, zone: tzinfo) -> dict[str, Any]:
    """An account as it stands: what waits, what ended, why it is stopped, and its pace; times in this zone."""
    standing, paused = (
        runtime.metrics.account_stats([account.name])[account.name],
        runtime.store.get_pause(account.name),
    )
    return {
        "account": account.name,
        "mode": account.mode,
        "backlog": standing.backlog,
        "oldest": instant(standing.oldest, zone) if standing.oldest else None,
        "open": standing.open,
        "jobs": {
            "queued": standing.backlog,
            **{state: standing.counts.get(state, 0) for state in OPEN_STATES[1:]},
        },
        "unresolved": standing.unresolved,
        **{name: standing.counts.get(name, 0) for name in ("failed", "succeeded", "superseded", "accepted")},
        "paused": _pause(paused, zone),
        "pace": _pace(runtime, account.name, zone),
    }


def _pause(pause: Pause | None, zone: tzinfo) -> dict[str, str] | None:
    if pause is None:
        return None
    until = instant(pause.until, zone) if pause.until else ""
    return {
        "reason": pause.reason,
        "detail": pause.detail,
        "since": instant(pause.since, zone),
        "until": until,
    }


def _pace(runtime: Runtime, account: str, zone: tzinfo) -> dict[str, Any]:
    """The limiter's state: share of the full pace, breaker, and until when nothing is sent."""
    state = runtime.limiter.state(account)
    until = max(float(state["open_until"]), float(state["not_before"]))
    return {
        "factor": state["factor"],
        "breaker": state["breaker"],
        "reason": state["reason"],
        "until": instant(round(until * 1e6), zone) if until else "",
    }


def summarize_counts(counts: Mapping[str, int]) -> str:
    """Return the counts as text, the greatest first: `3 not failed, 1 gone`."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {reason}" for reason, count in ordered)
