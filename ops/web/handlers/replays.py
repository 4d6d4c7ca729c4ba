"""Replays: fixing what would be sent anew, of failed jobs or of drift, and letting it run."""

from typing import Final

from ops.serializers.drift import DriftPageDict
from ops.serializers.replays import ReplayDict, ReplaysDict, serialize_replay
from ops.web.deps import OperatorDeps
from ops.web.forms import OF_REPLAY, PREPARED, DriftForm, NewestQuery, RepairForm, ReplayForm
from producers.portals.http.api_route import ApiCall, get, post
from producers.portals.http.endpoint import check_access

REPAIR_EXAMPLE: Final = {
    "account": "acme",
    "relations": [
        {
            "relationtype": "estate:address:buyer",
            "parentid": 501,
            "childid": 9001,
            "state": "missing",
            "occurred_at": "2026-11-20T18:00:00Z",
            "job": "acme-1m7y8t1vgssvve752b",
            "read_at": "2026-11-21T09:00:00Z",
        }
    ],
}


@post(
    "/v1/replays",
    "Fix a set of failed jobs, and show what would be sent",
    form_example={"account": "acme", "error": "160", "since": "2026-11-20T18:00:00Z"},
    **PREPARED,
)
def prepare_replay(deps: OperatorDeps, call: ApiCall[ReplayForm]) -> ReplayDict:
    """Fix a set of failed jobs and show what would be sent; nothing is sent yet."""
    form, key = call.input, call.key
    if "account" in form.set:
        check_access(key, "replay", str(form.set["account"]))
    replay = deps.operations.prepare_replay(
        form.account,
        form.ids_or_filter(),
        by=key.name,
        forced=form.force,
        correction=form.set,
        allowed=key.accounts,
    )
    return serialize_replay(replay)


@get("/v1/replays", "The replays of the last week, newest first")
def list_replays(deps: OperatorDeps, call: ApiCall[NewestQuery]) -> ReplaysDict:
    """List the replays of the last week, newest first."""
    found = deps.runtime.job_admin.list_replays(call.account, limit=call.input.limit)
    return {"replays": list(map(serialize_replay, found))}


@get("/v1/replays/{id}", "Show a replay", **OF_REPLAY)
def get_replay(deps: OperatorDeps, call: ApiCall[None]) -> ReplayDict:
    """Show a replay, and what its jobs have become by now."""
    replay = deps.operations.find_replay(call.id)
    return serialize_replay(replay, deps.operations.count_outcomes(replay))


@post("/v1/replays/{id}/run", "Run a replay", status=202, **OF_REPLAY)
def run_replay(deps: OperatorDeps, call: ApiCall[None]) -> ReplayDict:
    """Start a replay, or let a stopped one go on; a worker carries it out.

    Another key may have prepared it, for more accounts than this one has.
    """
    for account in deps.operations.find_replay(call.id).accounts:
        check_access(call.key, "replay", account)
    replay = deps.operations.start_replay(call.id, by=call.key.name)
    deps.operations.send_replay(replay.id)
    return serialize_replay(replay)


@post("/v1/replays/{id}/cancel", "Stop a replay", **OF_REPLAY)
def stop_replay(deps: OperatorDeps, call: ApiCall[None]) -> ReplayDict:
    """Stop a replay after the piece that is being worked."""
    return serialize_replay(deps.operations.stop_replay(call.id, by=call.key.name))


@post(
    "/v1/drift",
    "Read what was confirmed back from the CRM, and show where the two differ",
    form_example={"account": "acme", "relationtype": "estate:address:buyer"},
)
def read_drift(deps: OperatorDeps, call: ApiCall[DriftForm]) -> DriftPageDict:
    """Read a page of what was confirmed back from the CRM, below all other work of the account."""
    form, account = call.input, deps.account(call.account)
    return deps.operations.read_drift(account, form.filter(), cursor=form.cursor, sample=form.sample)


@post(
    "/v1/drift/repairs",
    "Fix a set of changes that would make drifted relations as they were confirmed",
    form_example=REPAIR_EXAMPLE,
    **PREPARED,
)
def prepare_repair(deps: OperatorDeps, call: ApiCall[RepairForm]) -> ReplayDict:
    """Fix a set of changes that would undo drift, and show what would be sent; nothing is sent yet."""
    drifted = call.input.drifted()
    return serialize_replay(
        deps.operations.services.replays.prepare_repair(call.account, drifted, by=call.key.name)
    )
