"""`/webhooks/{source}`: a message of another system is verified, mapped to changes and accepted."""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from producers.portals.http.api_route import ApiCall
from producers.portals.http.body_parts import at_home
from producers.portals.http.changes import job_entries
from producers.portals.http.deps import HttpDeps
from producers.portals.http.problems import JobEntry, accepted_response
from producers.portals.http.requests import read_body, with_correlation
from producers.webhooks.mapping import Mapped, changes_of, payload_of
from producers.webhooks.reparse import unreadable
from producers.webhooks.verify import Delivery, verify
from worker.config import Source
from worker.contract import MAX_MESSAGE
from worker.errors import Invalid, InvalidChange, RelationsError
from worker.ports import Receipt


async def receive_webhook(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Accept the changes of a webhook's message; onOffice sends its own by GET, all others by POST."""
    request = call.request
    source = deps.sources.get(request.path_params["source"])
    if request.method == "GET" and source.scheme != "onoffice":
        raise HTTPException(405, headers={"Allow": "POST"})
    raw = await read_body(request, MAX_MESSAGE, seconds=deps.body_seconds)
    delivery = Delivery(str(request.url), request.headers, raw, request.method)
    try:
        message_id = verify(source, delivery, now=deps.now())
        jobs = await _accept_delivery(deps, source, delivery, message_id, request)
    except RelationsError as error:
        faults = [str(fault) for fault in error.faults] if isinstance(error, Invalid) else [str(error)]
        deps.emit("webhook.refused", source=source.name, error=type(error).__name__, faults=faults)
        raise
    return accepted_response(jobs)


async def _accept_delivery(
    deps: HttpDeps, source: Source, delivery: Delivery, message_id: str, request: Request
) -> list[JobEntry]:
    """Return the jobs of a genuine message.

    One that makes no valid changes is kept as a failed job, to be read again when the rules are corrected.
    """
    try:
        mapped = changes_of(source, payload_of(source, delivery), message_id)
        receipts = await _accept_mapped(deps, mapped, request) if mapped else []
    except InvalidChange as error:
        message = unreadable(source, delivery, message_id, [str(fault) for fault in error.faults])
        receipt = await run_in_threadpool(deps.intake.reject, message)
        return [{"id": receipt.job, "state": "failed", "duplicate": receipt.duplicate}]
    return list((await job_entries(deps.queries, dict(enumerate(receipts)))).values())


async def _accept_mapped(deps: HttpDeps, mapped: list[Mapped], request: Request) -> list[Receipt]:
    """Accept the changes; a redelivered message meets its first jobs, whatever its content is by now (R2)."""
    changes = with_correlation([each.change for each in mapped], request)
    try:
        return await deps.commit_group.accept(changes[0].account, changes, redelivered=True)
    except InvalidChange as error:
        raise InvalidChange(list(at_home(error, [each.path for each in mapped]))) from None
