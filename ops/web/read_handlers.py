"""Handlers that show what is kept: relations, failures, requests, replays, accounts, audit log, metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prometheus_client.exposition import choose_encoder
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ops.doctor.findings import report_troubles, verdict_of
from ops.history import read_history
from ops.job_outcomes import read_outcomes
from ops.lookups import resolve_relation
from ops.serializers.accounts import serialize_key
from ops.serializers.audit import serialize_audit_entry
from ops.serializers.callbacks import serialize_message
from ops.serializers.failures import serialize_failures
from ops.serializers.jobs import serialize_payload
from ops.serializers.replays import serialize_replay
from ops.serializers.requests import serialize_request, serialize_request_page
from ops.serializers.system import serialize_sweep, serialize_worker
from ops.web.deps import OperatorDeps
from ops.web.forms import ExplainQuery, NewestQuery, PageQuery, TextsQuery, find_zone
from producers.portals.http.api_route import ApiCall
from producers.portals.http.problems import json_response
from producers.portals.http.query import AccountQuery
from worker.contract.message import MAX_ID
from worker.errors import Fault, Invalid, NotFound
from worker.ports import HISTORY_SECONDS

SUMMED: Final = ("backlog", "open", "unresolved", "failed", "succeeded", "superseded", "accepted")


async def explain_relation(deps: OperatorDeps, call: ApiCall[ExplainQuery]) -> Response:
    """Show every job that named a relation and what became of it."""
    path = call.request.path_params
    parent, child = path["parent"], path["child"]
    bad = [side for side in ("parent", "child") if not 1 <= path[side] <= MAX_ID]
    if bad:
        raise Invalid([Fault(side, "expected the id of a record, a positive whole number") for side in bad])
    relation = resolve_relation(path["type"], parent, child)
    operations = deps.operations.in_zone(find_zone(call.input.utc_offset))
    explained = await deps.run(call, lambda: operations.explain(call.account, relation).to_json())
    return json_response(explained)


async def list_failures(deps: OperatorDeps, call: ApiCall[AccountQuery]) -> Response:
    """List what failed and waits for a decision, by error and type, and by suspect record."""
    account = call.account
    groups = await deps.run(call, deps.operations.failure_groups, account)
    suspects = await deps.run(call, deps.operations.find_suspects, account)
    return json_response(serialize_failures(account, groups, suspects))


async def list_requests(deps: OperatorDeps, call: ApiCall[PageQuery]) -> Response:
    """List the requests to the API, newest first, one page at a time."""
    query = call.input
    page = await deps.run(
        call, deps.operations.list_requests, query.account, limit=query.limit, cursor=query.cursor
    )
    return json_response(serialize_request_page(page))


async def get_request(deps: OperatorDeps, call: ApiCall[AccountQuery]) -> Response:
    """Show one request to the API."""
    request_id = call.request.path_params["id"]
    found = await deps.run(call, deps.operations.get_request, call.account, request_id)
    if found is None:
        raise NotFound("there is no such request (any more)")
    return json_response(serialize_request(found))


async def list_audit_entries(deps: OperatorDeps, call: ApiCall[PageQuery]) -> Response:
    """List who did what, newest first, one page at a time."""
    query = call.input
    page = await deps.run(
        call, deps.operations.audit_log, query.account, limit=query.limit, cursor=query.cursor
    )
    return json_response(
        {"deeds": [serialize_audit_entry(entry) for entry in page.entries], "next": page.next or None}
    )


async def list_accounts(deps: OperatorDeps, call: ApiCall[TextsQuery]) -> Response:
    """Show the key, and its accounts in the order of the settings."""
    operations = deps.operations.in_zone(find_zone(call.input.utc_offset))
    accounts = [name for name in deps.runtime.settings.accounts if name in call.key.accounts]
    described = await deps.run(call, lambda: list(map(operations.get_account, accounts)))
    return json_response({"accounts": described, "key": serialize_key(call.key), "totals": sum_up(described)})


def sum_up(accounts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the sums of the accounts' numbers, those of jobs by state beside the others."""
    totals: Counter[str] = Counter(dict.fromkeys(SUMMED, 0))
    for account in accounts:
        totals.update({name: account[name] for name in SUMMED})
        totals.update(account["jobs"])
    return dict(totals)


async def get_key(_deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show the key: what it may do, for which accounts."""
    return json_response(serialize_key(call.key))


async def get_health(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show how all is of what the key may see: the same verdict as `relations doctor` and `/readyz` give."""
    known = [name for name in deps.runtime.settings.accounts if name in call.key.accounts]
    health = await deps.run(call, deps.runtime.read_health, known)
    findings = report_troubles(deps.runtime.find_troubles(health))
    return json_response(
        {
            "verdict": verdict_of(findings),
            "findings": [finding.to_json() for finding in findings],
            "workers": [serialize_worker(worker, health.live_workers) for worker in health.workers],
            "sweep": serialize_sweep(health.sweeps),
        }
    )


async def get_history(deps: OperatorDeps, call: ApiCall[AccountQuery]) -> Response:
    """Show what an account did over the last day, in buckets of five minutes."""
    account = deps.account(call.account)
    buckets = await deps.run(call, read_history, deps.runtime.metrics, account)
    return json_response(
        {
            "account": account,
            "seconds": HISTORY_SECONDS,
            "buckets": [bucket.to_json() for bucket in buckets],
        }
    )


async def list_outcomes(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show what became of each relation of a job."""
    job_id = call.request.path_params["id"]
    job = await deps.run(call, deps.operations.get_job, job_id)
    if job is None:
        raise NotFound(f'there is no job "{job_id}" (any more)')
    outcomes = await deps.run(call, read_outcomes, deps.runtime.queries, job)
    return json_response({"relations": [outcome.to_json() for outcome in outcomes]})


async def get_payload(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show the unreadable message that a job stands for, as it came."""
    job_id = call.request.path_params["id"]
    message = await deps.run(call, deps.operations.get_payload, job_id)
    if message is None:
        raise NotFound(f"nothing is kept of a message for {job_id}")
    return json_response(serialize_payload(message))


async def list_replays(deps: OperatorDeps, call: ApiCall[NewestQuery]) -> Response:
    """List the replays of the last week, newest first."""
    found = await deps.run(call, deps.runtime.job_admin.list_replays, call.account, limit=call.input.limit)
    return json_response({"replays": [serialize_replay(replay) for replay in found]})


async def get_replay(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show a replay, and what its jobs have become by now."""
    replay = await deps.run(call, deps.operations.find_replay, call.request.path_params["id"])
    outcomes = await deps.run(call, deps.operations.count_outcomes, replay)
    return json_response(serialize_replay(replay, outcomes))


async def list_callback_messages(deps: OperatorDeps, call: ApiCall[PageQuery]) -> Response:
    """List what callbacks were told of an account's batches, or are to be told, newest first."""
    query = call.input
    page = await deps.run(
        call,
        deps.operations.list_callback_messages,
        query.account,
        limit=query.limit,
        cursor=query.cursor,
    )
    messages = [serialize_message(message) for message in page.messages]
    return json_response({"messages": messages, "next": page.next or None})


async def get_callback_message(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show a message of a callback, and how far it is."""
    message_id = call.request.path_params["id"]
    message = await deps.run(call, deps.operations.find_callback_message, message_id)
    return json_response(serialize_message(message))


async def get_metrics(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show every metric, as text for Prometheus or as OpenMetrics for clients that ask for it."""
    encode, content_type = choose_encoder(call.request.headers.get("accept", ""))
    text = await run_in_threadpool(encode, await deps.metrics.read())
    return Response(text, headers={"Content-Type": content_type})
