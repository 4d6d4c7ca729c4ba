"""`POST /v1/changes`: a body is read, each account's part goes through intake, and the jobs are answered."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from producers.errors import TooLarge
from producers.portals.http.api_route import ApiCall
from producers.portals.http.body_parts import by_account, not_all
from producers.portals.http.deps import HttpDeps
from producers.portals.http.problems import JobEntry, accepted_response
from producers.portals.http.requests import (
    change_paths,
    check_access,
    preferred_wait,
    read_body,
    with_correlation,
    with_event_ids,
)
from worker.config import Key
from worker.contract import MAX_BODY, Change, parse_many
from worker.errors import RelationsError
from worker.ports import Queries, Receipt
from worker.usecases.intake import Part

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
    changes = with_correlation([each.change for each in parsed], request)
    changes = with_event_ids(changes, request.headers.get("idempotency-key"))
    parts = await asyncio.gather(
        *(_accept_part(deps, call.key, changes, positions) for positions in by_account(changes))
    )
    receipts = {
        at: receipt for part in parts for at, receipt in zip(part.positions, part.receipts, strict=False)
    }
    jobs = await job_entries(deps.queries, receipts, [each.notes for each in parsed])
    if any(part.error for part in parts):
        return not_all(parts, change_paths(raw, len(changes)), jobs)
    return await _respond(deps, [jobs[at] for at in range(len(changes))], preferred_wait(request))


async def _accept_part(
    deps: HttpDeps, key: Key, changes: Sequence[Change], positions: tuple[int, ...]
) -> Part:
    """Accept the changes of one account, if the key is for it."""
    account = changes[positions[0]].account
    try:
        check_access(key, "send", account)
        receipts = await deps.commit_group.accept(account, [changes[at] for at in positions])
    except RelationsError as error:
        return Part(positions, error=error)
    return Part(positions, tuple(receipts))


async def job_entries(
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


async def _respond(deps: HttpDeps, jobs: Sequence[JobEntry], wait: int) -> Response:
    """Answer at once, or when all jobs have ended if that is within `wait` seconds."""
    if jobs and wait:
        ended = await deps.job_poller.wait_until_ended({job["id"] for job in jobs}, wait)
        if ended is not None:
            return accepted_response([{**job, "state": ended[job["id"]]} for job in jobs], waited=wait)
    return accepted_response(jobs)
