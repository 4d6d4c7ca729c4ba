"""The handlers for portals: each reads its request, asks intake or the store in a thread, and answers.

Which routes they serve, and what is checked before, is in `routes`.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from producers.errors import Forbidden, TooLarge, Unauthorized
from producers.portals.http.api_route import ApiCall
from producers.portals.http.content_coding import decode
from producers.portals.http.deps import HttpDeps
from producers.portals.http.problems import JobEntry, accepted_response, json_response, partly_refused
from producers.portals.http.query import AccountQuery, JobLookupForm, JobPageQuery
from producers.portals.http.requests import (
    check_access,
    idempotency_key,
    job_account,
    joined_headers,
    preferred_wait,
    read_body,
    read_sent_body,
    sent_url,
    with_correlation,
    with_event_ids,
)
from producers.portals.http.start_page import start_response
from producers.portals.serializers import batch_json, job_json
from producers.webhooks.claims import KeptClaim, keep_claim
from producers.webhooks.mapping import MappedChange, build_changes, check_mail_is_read, read_payload
from producers.webhooks.reparse import make_unreadable_message
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import verify
from worker.config import Account, Key, Source, redact
from worker.contract import MAX_BODY, MAX_MESSAGE, Change, parse_many, places_of
from worker.errors import (
    BacklogFull,
    Invalid,
    InvalidChange,
    InvalidSettings,
    NotFound,
    RelationsError,
    Unavailable,
)
from worker.ports import Queries, Receipt
from worker.usecases.intake import AccountResult, group_by_account

CONTENT_TYPES: Final = ("application/json", "application/x-ndjson")
MAX_INLINE_PARSE: Final = 2**16  # bytes; a larger body is parsed beside the event loop
MAX_CHANGES: Final = 10_000  # of one body
CHALLENGES: Final = ("hub.challenge", "challenge", "validationToken")  # parameters that are sent back
CHALLENGE: Final = re.compile(r"[A-Za-z0-9._~:/+=-]{1,512}")  # nothing that could be a page
SETTINGS_RETRY_AFTER: Final = 60.0  # seconds until a secret may be readable again


async def post_changes(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Accept the changes of the body, each account's part as a whole or not at all.

    The body may also be one change per line, as `application/x-ndjson`.
    """
    request = call.request
    key = idempotency_key(request)
    raw = await read_body(request, MAX_BODY, seconds=deps.body_seconds, content_types=CONTENT_TYPES)
    parsed = await run_in_threadpool(parse_many, raw) if len(raw) > MAX_INLINE_PARSE else parse_many(raw)
    if len(parsed) > MAX_CHANGES:
        raise TooLarge(MAX_CHANGES, "changes")
    changes = with_correlation([item.change for item in parsed], request)
    changes = with_event_ids(changes, key)
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
    job = await deps.threads.run_for(call.key.name, deps.store.get_job, job_id)
    if job is None:
        raise NotFound(f'there is no job "{job_id}" (any more)')
    return json_response(job_json(job, await deps.threads.run_for(call.key.name, deps.waits.of_job, job)))


async def look_up_jobs(deps: HttpDeps, call: ApiCall[JobLookupForm]) -> Response:
    """Show several jobs, in the order of their ids; null for one that is not there (any more)."""
    ids = call.input.jobs
    for account in {job_account(job_id) for job_id in ids}:
        check_access(call.key, "read", account)
    jobs = await deps.threads.run_for(call.key.name, deps.queries.get_jobs, ids)
    waits = await deps.threads.run_for(call.key.name, deps.waits.of_jobs, list(jobs.values()))
    return json_response(
        {"jobs": [job_json(jobs[id_], waits.get(id_)) if id_ in jobs else None for id_ in ids]}
    )


async def list_jobs(deps: HttpDeps, call: ApiCall[JobPageQuery]) -> Response:
    """List the jobs that fit, newest first, one page at a time."""
    query = call.input
    page = await deps.threads.run_for(
        call.key.name,
        deps.queries.find_jobs,
        query.account,
        query.filter(),
        limit=query.limit,
        cursor=query.cursor,
    )
    waits = await deps.threads.run_for(call.key.name, deps.waits.of_jobs, page.jobs)
    return json_response(
        {"jobs": [job_json(job, waits.get(job.id)) for job in page.jobs], "next": page.next or None}
    )


async def get_batch(deps: HttpDeps, call: ApiCall[AccountQuery]) -> Response:
    """Count the jobs of a batch by what has become of them."""
    label = call.request.path_params["label"]
    counts = await deps.threads.run_for(call.key.name, deps.store.batch_counts, call.account, label)
    return json_response(batch_json(call.account, label, counts))


async def receive_webhook(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Accept the changes of a webhook's message, which is posted; onOffice and some forms use GET.

    A source that is known never answers that it is gone, and 503 whatever time can cure: senders delete the
    hook for the first, and try again for the second. They also look whether there is anybody, with nothing
    to say.
    """
    request = call.request
    try:
        source = deps.sources.get(request.path_params["source"])
    except NotFound as error:
        deps.refusals.note_webhook("", error)
        raise
    if source.gone:
        raise HTTPException(410, "this webhook was removed on purpose; delete it at its sender")
    if request.method in ("HEAD", "GET") and (answer := _answer_look(request)):
        return answer
    try:
        raw, coding = await read_sent_body(request, MAX_MESSAGE, seconds=deps.body_seconds)
        sent = WebhookDelivery(sent_url(request), joined_headers(request), raw, request.method)
        mapped = await deps.threads.run_mapping(
            partial(_map_delivery, source, sent, deps.now(), deps.current_settings().accounts, coding=coding)
        )
        if mapped.claim:
            _report_claim(deps, source, mapped.claim)
        jobs = await _accept_delivery(deps, source, mapped, request)
    except RelationsError as error:
        deps.refusals.note_webhook(source.name, error)
        if isinstance(error, InvalidSettings | BacklogFull):
            raise Unavailable("this cannot be taken at the moment", retry_after=_retry_after(error)) from None
        raise
    if not jobs:
        deps.emit("webhook.ignored", source=source.name, message=mapped.id)
    return accepted_response(jobs)


def _retry_after(error: RelationsError) -> float:
    return error.retry_after if isinstance(error, Unavailable) else SETTINGS_RETRY_AFTER


def _answer_look(request: Request) -> Response | None:
    """Return the answer to a sender that only looks whether somebody is here; None for a message.

    Some send a challenge that they want to read again, such as Meta, Dropbox and Microsoft Graph.
    """
    if request.method == "HEAD" or not request.scope["query_string"]:
        return json_response({"jobs": []})
    challenge = next((text for name in CHALLENGES if (text := request.query_params.get(name))), "")
    if CHALLENGE.fullmatch(challenge):
        return PlainTextResponse(challenge, headers={"X-Content-Type-Options": "nosniff"})
    return None


class MappedDelivery(NamedTuple):
    """A genuine message: what was delivered, its id, and the changes that it makes or why it makes none."""

    delivery: WebhookDelivery
    id: str
    changes: list[MappedChange] | InvalidChange
    claim: KeptClaim | None = None


def _map_delivery(
    source: Source, sent: WebhookDelivery, now: float, accounts: Mapping[str, Account], *, coding: str
) -> MappedDelivery:
    """Verify and map what was sent; of a compressed body some sign the bytes, some the content."""
    delivery = sent._replace(body=decode(sent.body, coding, MAX_MESSAGE)) if coding else sent
    try:
        message_id = verify(source, delivery, now=now)
    except Unauthorized:
        if not coding:
            raise
        message_id = verify(source, sent, now=now)
    claim = keep_claim(source, accounts, delivery, now=now)
    try:
        payload = read_payload(source, delivery)
        changes = build_changes(source, payload, message_id, delivery)
        check_mail_is_read(payload, changes)
    except InvalidChange as error:
        return MappedDelivery(delivery, message_id, error, claim)
    return MappedDelivery(delivery, message_id, changes, claim)


def _report_claim(deps: HttpDeps, source: Source, claim: KeptClaim) -> None:
    if claim.error:
        deps.emit("claim.lost", account=claim.account, source=source.name, error=claim.error)
    else:
        deps.emit("claim.written", account=claim.account, source=source.name)


async def _accept_delivery(
    deps: HttpDeps, source: Source, mapped: MappedDelivery, request: Request
) -> list[JobEntry]:
    """Return the jobs of a genuine message.

    One that makes no valid changes is kept as a failed job, to be read again when the rules are corrected.
    """
    try:
        if isinstance(mapped.changes, InvalidChange):
            raise mapped.changes
        receipts = await _accept_mapped(deps, mapped.changes, request) if mapped.changes else []
    except (InvalidChange, NotFound) as error:  # NotFound: its account has left the settings
        faults = [str(fault) for fault in error.faults] if isinstance(error, Invalid) else [str(error)]
        make = partial(make_unreadable_message, source, mapped.delivery, mapped.id, faults)
        receipt = await run_in_threadpool(deps.intake.reject, await deps.threads.run_mapping(make))
        return [{"id": receipt.job, "state": "failed", "duplicate": receipt.duplicate}]
    return list((await _job_entries(deps.queries, dict(enumerate(receipts)))).values())


async def _accept_mapped(deps: HttpDeps, mapped: list[MappedChange], request: Request) -> list[Receipt]:
    """Accept the changes; a redelivered message meets its first jobs, whatever its content is by now (R2)."""
    changes = with_correlation([item.change for item in mapped], request)
    paths = [item.path for item in mapped]
    receipts = [
        zip(positions, await _accept_mapped_part(deps, changes, paths, positions), strict=True)
        for positions in group_by_account(changes)
    ]
    return [receipt for _, receipt in sorted(pair for part in receipts for pair in part)]


async def _accept_mapped_part(
    deps: HttpDeps, changes: Sequence[Change], paths: Sequence[str], positions: tuple[int, ...]
) -> list[Receipt]:
    """Accept the changes of one account; faults are led by the paths of the rules."""
    account = changes[positions[0]].account
    try:
        return await deps.commit_group.accept(account, [changes[at] for at in positions])
    except InvalidChange as error:
        raise error.moved(lambda at: paths[positions[at]]) from None


async def get_start_page(_deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Say who is here and where to go on: a page for people, JSON for programs."""
    return start_response(call.request)


async def healthz(_deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer, which shows that the process is up."""
    return json_response({"status": "ok"})


async def readyz(deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer once Redis has answered, and note what is wrong: what is accepted waits until it is mended."""
    deps.current_settings()  # which reads them again if they changed
    troubles = await deps.redis_probe.check()
    notes = [redact(str(trouble)) for trouble in troubles]
    return json_response({"status": "ok", **({"notes": notes} if notes else {})})
