"""The handlers for portals: each reads its request, asks intake or the store in a thread, and answers.

Which routes they serve, and what is checked before, is in `routes`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from producers.errors import TooLarge
from producers.portals.http.api_route import ApiCall
from producers.portals.http.deps import HttpDeps
from producers.portals.http.problems import JobEntry, accepted_response, json_response, partly_refused
from producers.portals.http.query import AccountQuery, JobPageQuery
from producers.portals.http.requests import (
    check_access,
    preferred_wait,
    read_body,
    with_correlation,
    with_event_ids,
)
from producers.portals.serializers import batch_json, held_relations, job_json
from producers.webhooks.mapping import MappedChange, build_changes, read_payload
from producers.webhooks.reparse import make_unreadable_message
from producers.webhooks.verify import WebhookDelivery, verify
from worker.config import Key, Source
from worker.contract import MAX_BODY, MAX_MESSAGE, Change, parse_many, places_of
from worker.errors import Invalid, InvalidChange, NotFound, RelationsError
from worker.ports import Queries, Receipt
from worker.usecases.intake import AccountResult, group_by_account

CONTENT_TYPES: Final = ("application/json", "application/x-ndjson")
MAX_INLINE_PARSE: Final = 2**16  # bytes; a larger body is parsed beside the event loop
MAX_CHANGES: Final = 10_000  # of one body


async def post_changes(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Accept the changes of the body, each account's part as a whole or not at all."""
    request = call.request
    raw = await read_body(request, MAX_BODY, seconds=deps.body_seconds, content_types=CONTENT_TYPES)
    parsed = await run_in_threadpool(parse_many, raw) if len(raw) > MAX_INLINE_PARSE else parse_many(raw)
    if len(parsed) > MAX_CHANGES:
        raise TooLarge(MAX_CHANGES, "changes")
    changes = with_correlation([item.change for item in parsed], request)
    changes = with_event_ids(changes, request.headers.get("idempotency-key"))
    results = await asyncio.gather(
        *(_accept_part(deps, call.key, changes, positions) for positions in group_by_account(changes))
    )
    receipts = {
        position: receipt
        for result in results
        for position, receipt in zip(result.positions, result.receipts, strict=False)
    }
    jobs = await _job_entries(deps.queries, receipts, [item.notes for item in parsed])
    if any(result.error for result in results):
        return partly_refused(results, places_of(raw, len(changes)), jobs)
    return await _respond(deps, [jobs[at] for at in range(len(changes))], preferred_wait(request))


async def _accept_part(
    deps: HttpDeps, key: Key, changes: Sequence[Change], positions: tuple[int, ...]
) -> AccountResult:
    """Accept the changes of one account, if the key is for it."""
    account = changes[positions[0]].account
    try:
        check_access(key, "send", account)
        receipts = await deps.commit_group.accept(account, [changes[at] for at in positions])
    except RelationsError as error:
        return AccountResult.refused(positions, error)
    return AccountResult(positions, tuple(receipts))


async def _respond(deps: HttpDeps, jobs: Sequence[JobEntry], wait: int) -> Response:
    """Answer at once, or when all jobs have ended if that is within `wait` seconds."""
    if jobs and wait:
        ended = await deps.job_poller.wait_until_ended({job["id"] for job in jobs}, wait)
        if ended is not None:
            return accepted_response([{**job, "state": ended[job["id"]]} for job in jobs], waited=wait)
    return accepted_response(jobs)


async def _job_entries(
    queries: Queries, receipts: Mapping[int, Receipt], notes: Sequence[Sequence[str]] = ()
) -> dict[int, JobEntry]:
    """Return the entries of receipts by position; a duplicate has the state that its job is in by now.

    `notes` say what was corrected in the change of each position.
    """
    duplicates = sorted({receipt.job for receipt in receipts.values() if receipt.duplicate})
    states = await run_in_threadpool(queries.get_states, duplicates) if duplicates else {}
    entries: dict[int, JobEntry] = {}
    for at, receipt in receipts.items():
        state = states.get(receipt.job) if receipt.duplicate else "queued"
        entries[at] = {"id": receipt.job, "state": state, "duplicate": receipt.duplicate}
        if notes and notes[at]:
            entries[at]["notes"] = list(notes[at])
    return entries


async def get_job(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Show one job."""
    job_id = call.request.path_params["id"]
    job = await run_in_threadpool(deps.store.get_job, job_id)
    if job is None:
        raise NotFound(f'there is no job "{job_id}" (any more)')
    held = held_relations(job)
    records = await run_in_threadpool(deps.queries.get_records, job.account, held) if held else {}
    return json_response(job_json(job, records))


async def list_jobs(deps: HttpDeps, call: ApiCall[JobPageQuery]) -> Response:
    """List the jobs that fit, newest first, one page at a time."""
    query = call.input
    page = await run_in_threadpool(
        deps.queries.find_jobs, query.account, query.filter(), limit=query.limit, cursor=query.cursor
    )
    return json_response({"jobs": [job_json(job) for job in page.jobs], "next": page.next or None})


async def get_batch(deps: HttpDeps, call: ApiCall[AccountQuery]) -> Response:
    """Count the jobs of a batch by what has become of them."""
    label = call.request.path_params["label"]
    counts = await run_in_threadpool(deps.store.batch_counts, call.account, label)
    return json_response(batch_json(call.account, label, counts))


async def receive_webhook(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Accept the changes of a webhook's message; onOffice sends its own by GET, all others by POST."""
    request = call.request
    source = deps.sources.get(request.path_params["source"])
    if request.method == "GET" and source.scheme != "onoffice":
        raise HTTPException(405, headers={"Allow": "POST"})
    raw = await read_body(request, MAX_MESSAGE, seconds=deps.body_seconds)
    delivery = WebhookDelivery(str(request.url), request.headers, raw, request.method)
    try:
        message_id = verify(source, delivery, now=deps.now())
        jobs = await _accept_delivery(deps, source, delivery, message_id, request)
    except RelationsError as error:
        faults = [str(fault) for fault in error.faults] if isinstance(error, Invalid) else [str(error)]
        deps.emit("webhook.refused", source=source.name, error=type(error).__name__, faults=faults)
        raise
    return accepted_response(jobs)


async def _accept_delivery(
    deps: HttpDeps, source: Source, delivery: WebhookDelivery, message_id: str, request: Request
) -> list[JobEntry]:
    """Return the jobs of a genuine message.

    One that makes no valid changes is kept as a failed job, to be read again when the rules are corrected.
    """
    try:
        mapped = build_changes(source, read_payload(source, delivery), message_id)
        receipts = await _accept_mapped(deps, mapped, request) if mapped else []
    except InvalidChange as error:
        message = make_unreadable_message(
            source, delivery, message_id, [str(fault) for fault in error.faults]
        )
        receipt = await run_in_threadpool(deps.intake.reject, message)
        return [{"id": receipt.job, "state": "failed", "duplicate": receipt.duplicate}]
    return list((await _job_entries(deps.queries, dict(enumerate(receipts)))).values())


async def _accept_mapped(deps: HttpDeps, mapped: list[MappedChange], request: Request) -> list[Receipt]:
    """Accept the changes; a redelivered message meets its first jobs, whatever its content is by now (R2)."""
    changes = with_correlation([item.change for item in mapped], request)
    try:
        return await deps.commit_group.accept(changes[0].account, changes, redelivered=True)
    except InvalidChange as error:
        raise error.moved([item.path for item in mapped].__getitem__) from None


async def healthz(_deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer, which shows that the process is up."""
    return json_response({"status": "ok"})


async def readyz(deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer once Redis has answered."""
    await deps.redis_probe.check()
    return json_response({"status": "ok"})
