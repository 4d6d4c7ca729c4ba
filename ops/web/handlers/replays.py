"""Replays: fixing what would be sent anew, of failed jobs or of drift, and letting it run."""

from typing import Final

from starlette.responses import Response

from ops.serializers.drift import DriftPageDict, serialize_drift_page
from ops.serializers.replays import ReplayDict, ReplaysDict, serialize_replay
from ops.web.deps import OperatorDeps
from ops.web.forms import DriftForm, NewestQuery, RepairForm, ReplayForm
from ops.web.operator_route import OF_REPLAY, PROBLEMS, get, post
from producers.portals.http.api_route import ApiCall
from producers.portals.http.endpoint import check_access
from producers.portals.http.problems import json_response
from worker.ports.replays import Replay

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
    answer=ReplayDict,
    form=ReplayForm,
    form_example={"account": "acme", "error": "160", "since": "2026-11-20T18:00:00Z"},
    status=201,
    problems=(*PROBLEMS, 429),
)
async def prepare_replay(deps: OperatorDeps, call: ApiCall[ReplayForm]) -> Response:
    """Fix a set of failed jobs and show what would be sent; nothing is sent yet."""
    form = call.input
    if "account" in form.set:
        check_access(call.key, "replay", str(form.set["account"]))
    replay = await deps.run(
        call,
        deps.services.replays.prepare,
        form.account,
        form.ids_or_filter(),
        by=call.key.name,
        forced=form.force,
        correction=form.set,
        allowed=call.key.accounts,
    )
    return _prepared(replay)


@get("/v1/replays", "The replays of the last week, newest first", answer=ReplaysDict, query=NewestQuery)
async def list_replays(deps: OperatorDeps, call: ApiCall[NewestQuery]) -> Response:
    """List the replays of the last week, newest first."""
    found = await deps.run(call, deps.runtime.job_admin.list_replays, call.account, limit=call.input.limit)
    return json_response({"replays": [serialize_replay(replay) for replay in found]})


@get("/v1/replays/{id}", "Show a replay", answer=ReplayDict, **OF_REPLAY)
async def get_replay(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show a replay, and what its jobs have become by now."""
    replay = await deps.run(call, deps.operations.find_replay, call.request.path_params["id"])
    outcomes = await deps.run(call, deps.operations.count_outcomes, replay)
    return json_response(serialize_replay(replay, outcomes))


@post("/v1/replays/{id}/run", "Run a replay", answer=ReplayDict, status=202, **OF_REPLAY)
async def run_replay(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Start a replay, or let a stopped one go on; a worker carries it out.

    Another key may have prepared it, for more accounts than this one has.
    """

    def start() -> Replay:
        replay_id = call.request.path_params["id"]
        for account in deps.operations.find_replay(replay_id).accounts:
            check_access(call.key, "replay", account)
        replay = deps.operations.start_replay(replay_id, by=call.key.name)
        deps.operations.send_replay(replay.id)
        return replay

    return json_response(serialize_replay(await deps.run(call, start)), status=202)


@post("/v1/replays/{id}/cancel", "Stop a replay", answer=ReplayDict, **OF_REPLAY)
async def stop_replay(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Stop a replay after the piece that is being worked."""
    replay_id = call.request.path_params["id"]
    replay = await deps.run(call, deps.operations.stop_replay, replay_id, by=call.key.name)
    return json_response(serialize_replay(replay))


def _prepared(replay: Replay) -> Response:
    headers = {"Location": f"/v1/replays/{replay.id}"}
    return json_response(serialize_replay(replay), status=201, headers=headers)


@post(
    "/v1/drift",
    "Read what was confirmed back from the CRM, and show where the two differ",
    answer=DriftPageDict,
    form=DriftForm,
    form_example={"account": "acme", "relationtype": "estate:address:buyer"},
)
async def read_drift(deps: OperatorDeps, call: ApiCall[DriftForm]) -> Response:
    """Read a page of what was confirmed back from the CRM, below all other work of the account."""
    form = call.input
    account = deps.account(form.account)
    page = await deps.run(
        call, deps.operations.read_drift, account, form.filter(), cursor=form.cursor, sample=form.sample
    )
    return json_response(serialize_drift_page(page))


@post(
    "/v1/drift/repairs",
    "Fix a set of changes that would make drifted relations as they were confirmed",
    answer=ReplayDict,
    form=RepairForm,
    form_example=REPAIR_EXAMPLE,
    status=201,
    problems=(*PROBLEMS, 429),
)
async def prepare_repair(deps: OperatorDeps, call: ApiCall[RepairForm]) -> Response:
    """Fix a set of changes that would undo drift, and show what would be sent; nothing is sent yet."""
    form = call.input
    replay = await deps.run(
        call, deps.operations.prepare_repair, form.account, form.drifted(), by=call.key.name
    )
    return _prepared(replay)
