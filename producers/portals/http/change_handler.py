"""The handler of `POST /v1/changes`: each account's part of a body is accepted, or refused, as a whole."""

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from producers.errors import Forbidden, TooLarge
from producers.portals.http.api_route import ApiCall
from producers.portals.http.body import read_body
from producers.portals.http.deps import HttpDeps
from producers.portals.http.endpoint import check_access
from producers.portals.http.problems import JobEntry, accepted_response, partly_refused
from worker.config import Key
from worker.contract import MAX_BODY, Change, parse_many, places_of
from worker.contract.message import PRINTABLE
from worker.errors import Fault, InvalidChange, RelationsError
from worker.ports.queries import Queries
from worker.ports.store import Receipt
from worker.usecases.intake import AccountResult, group_by_account

CONTENT_TYPES: Final = ("application/json", "application/x-ndjson")
MAX_INLINE_PARSE: Final = 2**16  # bytes; a larger body is parsed beside the event loop
MAX_CHANGES: Final = 10_000  # of one body
MAX_IDEMPOTENCY_KEY: Final = 180  # characters: `:` and a position have to fit behind it
MAX_WAIT: Final = 30  # seconds a client may ask to be kept waiting
WAIT: Final = re.compile(r'wait[ \t]*=[ \t]*"?([0-9]{1,9})"?[ \t]*(;.*)?', re.IGNORECASE)


async def post_changes(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Accept the changes of the body, each account's part as a whole or not at all.

    The body may also be one change per line, as `application/x-ndjson`.
    """
    request = call.request
    key = _idempotency_key(request)
    raw = await read_body(request, MAX_BODY, content_types=CONTENT_TYPES)
    parsed = await run_in_threadpool(parse_many, raw) if len(raw) > MAX_INLINE_PARSE else parse_many(raw)
    if len(parsed) > MAX_CHANGES:
        raise TooLarge(MAX_CHANGES, "changes")
    changes = [
        msgspec.structs.replace(
            item.change,
            correlation=request.state.correlation,
            event_id=item.change.event_id or (f"{key}:{position}" if key else None),
        )
        for position, item in enumerate(parsed)
    ]
    parts = [_accept_part(deps, call.key, changes, positions) for positions in group_by_account(changes)]
    results = [await parts[0]] if len(parts) == 1 else await asyncio.gather(*parts)
    receipts = {
        position: receipt
        for result in results
        for position, receipt in zip(result.positions, result.receipts, strict=False)
    }
    list_entries = partial(list_job_entries, deps.runtime.queries, list(receipts.values()))
    asks = any(receipt.duplicate for receipt in receipts.values())
    entries = await run_in_threadpool(list_entries) if asks else list_entries()
    jobs = {at: _with_notes(entry, parsed[at].notes) for at, entry in zip(receipts, entries, strict=True)}
    if any(result.error for result in results):
        return partly_refused(results, places_of(raw, len(changes)), jobs)
    return await _respond(deps, [jobs[at] for at in range(len(changes))], preferred_wait(request))


def _with_notes(entry: JobEntry, notes: Sequence[str]) -> JobEntry:
    """Return the entry, with what was corrected in its change."""
    return {**entry, "notes": list(notes)} if notes else entry


async def _accept_part(
    deps: HttpDeps, key: Key, changes: Sequence[Change], positions: tuple[int, ...]
) -> AccountResult:
    """Accept the changes of one account, if the key is for it."""
    account = changes[positions[0]].account
    try:
        check_access(key, "send", account)
        receipts = await deps.commit_group.accept(account, [changes[at] for at in positions])
    except RelationsError as error:
        if isinstance(error, Forbidden):
            deps.refusals.note_key(error, "/v1/changes")
        return AccountResult.refused(positions, error)
    return AccountResult(positions, tuple(receipts))


async def _respond(deps: HttpDeps, jobs: Sequence[JobEntry], wait: int) -> Response:
    """Answer at once, or when all jobs have ended if that is within `wait` seconds."""
    if jobs and wait:
        ended = await deps.job_poller.wait_until_ended({job["id"] for job in jobs}, wait)
        if ended is not None:
            return accepted_response([{**job, "state": ended[job["id"]]} for job in jobs], waited=wait)
    return accepted_response(jobs)


def preferred_wait(request: Request) -> int:
    """Return the seconds that the client prefers to wait (`Prefer: wait=…`, RFC 7240), `MAX_WAIT` at most."""
    preferences = (text.strip() for header in request.headers.getlist("prefer") for text in header.split(","))
    waits = (match for text in preferences if (match := WAIT.fullmatch(text)))
    return next((min(int(match[1]), MAX_WAIT) for match in waits), 0)


def _idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key; raise InvalidChange for one that cannot be one, or for several."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1:
        raise InvalidChange([Fault("Idempotency-Key", "is given twice; which one counts?")])
    if len(keys[0]) > MAX_IDEMPOTENCY_KEY or not re.fullmatch(PRINTABLE, keys[0]):
        expected = f"expected 1 to {MAX_IDEMPOTENCY_KEY} printable characters"
        raise InvalidChange([Fault("Idempotency-Key", expected)])
    return keys[0]


def list_job_entries(queries: Queries, receipts: Sequence[Receipt]) -> list[JobEntry]:
    """Return the entry of each receipt; a duplicate has the state that its job is in by now."""
    duplicates = sorted({receipt.job for receipt in receipts if receipt.duplicate})
    states = queries.get_states(duplicates) if duplicates else {}
    return [
        {
            "id": receipt.job,
            "state": states.get(receipt.job) if receipt.duplicate else "queued",
            "duplicate": receipt.duplicate,
        }
        for receipt in receipts
    ]
