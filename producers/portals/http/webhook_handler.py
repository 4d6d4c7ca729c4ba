"""The handler of webhooks: verifies and maps what came, accepts its changes, and keeps what became of it.

What a message means is `producers.webhooks`; here is what its sender is answered.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from producers.errors import TooLarge, Unauthorized, Unsupported
from producers.portals.http.api_route import ApiCall
from producers.portals.http.body import decode, read_sent_body
from producers.portals.http.change_handler import list_job_entries
from producers.portals.http.deps import HttpDeps
from producers.portals.http.problems import JobEntry, accepted_response, json_response
from producers.portals.http.refusals import faults_of, reason_of
from producers.webhooks.handed_over import awaits_secret, keep_claim, take_secret
from producers.webhooks.handshake import (
    answer_own_check,
    answer_unproved,
    check_not_lost,
    find_challenge,
    find_echo,
)
from producers.webhooks.mapping import MappedChange
from producers.webhooks.record import MappedDelivery, map_delivery, record_delivery, record_refusal
from producers.webhooks.redelivery import find_lost
from producers.webhooks.reparse import make_unreadable_message
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import verify
from worker.config import Source
from worker.contract import MAX_MESSAGE
from worker.errors import (
    BacklogFull,
    Invalid,
    InvalidChange,
    InvalidSettings,
    NotFound,
    RelationsError,
    Unavailable,
)
from worker.ports import EventSink
from worker.ports.deliveries import DeliveryOutcome, KeptDelivery
from worker.ports.queries import Queries
from worker.ports.store import Receipt
from worker.usecases.intake import Intake

_SAFE: Final = {"X-Content-Type-Options": "nosniff"}
MAX_DIGITS: Final = 16  # of an announced length
SETTINGS_RETRY_AFTER: Final = 60.0  # seconds until a secret may be readable again


async def receive_webhook(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Answer a webhook, with what its sender wants to read again in the headers."""
    with deps.held_bodies.count() as grow:
        answer = await _receive(deps, call, grow)
    answer.headers.update(find_echo(call.request.headers))
    return answer


async def _receive(deps: HttpDeps, call: ApiCall[None], grow: Callable[[int], None]) -> Response:
    """Accept the changes of a webhook's message, which is posted; onOffice and some forms use GET.

    A source that is known never answers that it is gone, and 503 whatever time can cure: senders delete the
    hook for the first, and try again for the second. They also check whether there is anybody, with nothing
    to say.
    """
    request, sent = call.request, None
    try:
        source = deps.source(request.path_params["source"])
    except NotFound as error:
        deps.refusals.note_webhook("", error)
        raise
    if source.gone:
        raise HTTPException(410, "this webhook was removed on purpose; delete it at its sender")
    try:
        if request.method in ("HEAD", "GET") and (answer := _answer_look(source, request)):
            return answer
        raw, coding = await read_sent_body(request, MAX_MESSAGE, grow)
        if not raw and (challenge := find_challenge(request.query_params)):
            return _send_back(challenge)
        root = request.scope.get("root_path", "")
        sent = WebhookDelivery(_sent_url(request, root), _joined_headers(request), raw, request.method, root)
        take = partial(_take_delivery, deps, source, sent, coding, request.state.correlation)
        response, outcome = await deps.threads.run_webhook(take)
    except RelationsError as error:
        check = answer_unproved(source, sent, error) if sent and isinstance(error, Unauthorized) else None
        return _refuse_delivery(deps, source, request, error, check)
    if outcome:
        deps.deliveries.count(source, outcome)
    return response


def _answer_look(source: Source, request: Request) -> Response | None:
    """Return the answer to a sender that only looks whether somebody is here; None for a message."""
    if request.method == "HEAD":
        return json_response({"jobs": []})
    if text := answer_own_check(source, _sent_url(request, ""), request.headers):
        return _send_text(text)
    if _has_body(request):
        return None
    if not request.scope["query_string"]:
        check_not_lost(source, request.headers)
        return json_response({"jobs": []})
    challenge = find_challenge(request.query_params)
    return _send_back(challenge) if challenge else None


def _has_body(request: Request) -> bool:
    """Return whether a GET brings a message all the same, as n8n and TYPO3 send it if they are told to."""
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def _send_text(text: str, status: int = 200) -> Response:
    """Return an answer of the settings, called what it is."""
    return Response(text, status, _SAFE, "text/xml" if text.startswith("<") else _json_or_text(text))


def _json_or_text(text: str) -> str:
    if text[:1] in ("{", "["):
        with suppress(msgspec.DecodeError):  # Adyen's `[accepted]` is none
            msgspec.json.decode(text, type=msgspec.Raw)
            return "application/json"
    return "text/plain"


def _send_back(challenge: str) -> Response:
    return PlainTextResponse(challenge, headers=_SAFE)


def _sent_url(request: Request, root: str) -> str:
    """Return the URL of a request byte by byte, as characters of Latin-1, not as the server understood it.

    It has the path above us, `root`, also where a proxy has taken that off.
    """
    scope = request.scope
    host = request.headers.get("host") or "{}:{}".format(*scope["server"])
    target, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    target = target if target.startswith(f"{root}/") else f"{root}{target}"
    return f"{scope['scheme']}://{host}{target}{f'?{query}' if query else ''}"


def _joined_headers(request: Request) -> Mapping[str, str]:
    """Return the headers by name in lower case, with the values of one that came several times joined."""
    names = dict.fromkeys(request.headers.keys())
    return {name: ", ".join(request.headers.getlist(name)) for name in names}


def _take_delivery(
    deps: HttpDeps, source: Source, sent: WebhookDelivery, coding: str, correlation: str
) -> tuple[Response, DeliveryOutcome | None]:
    """Take what was sent, in a thread from beginning to end; return the answer, and what became of it.

    That is None of a sender that hands over the secret of its hook.
    """
    if awaits_secret(source) and (headers := take_secret(source, sent)) is not None:
        deps.runtime.emit("secret.taken", source=source.name)
        taken = {"jobs": [], "detail": "the secret of this hook was taken"}
        return json_response(taken, headers=headers), None
    with deps.threads.mapping:
        mapped = _map_sent(source, sent, time.time(), coding, deps.runtime.emit)
    return _accept_delivery(deps, source, mapped, correlation)


def _map_sent(
    source: Source, sent: WebhookDelivery, now: float, coding: str, emit: EventSink
) -> MappedDelivery:
    """Verify and map what was sent; of a compressed body some sign the bytes, some the content."""
    delivery = sent._replace(body=decode(sent.body, coding, MAX_MESSAGE)) if coding else sent
    try:
        message_id = verify(source, delivery, now=now)
    except Unauthorized:
        if not coding:
            raise
        message_id = verify(source, sent, now=now)
    keep_claim(source, delivery, now=now, emit=emit)
    return map_delivery(source, delivery, message_id)


def _accept_delivery(
    deps: HttpDeps, source: Source, mapped: MappedDelivery, correlation: str
) -> tuple[Response, DeliveryOutcome]:
    """Answer a genuine message with its jobs, once it is on record.

    One that makes no valid changes is kept as a failed job, to be read again when the rules are corrected.
    """
    receipts, error = _accept_mapped(deps.intake, mapped.changes, correlation)
    jobs = list_job_entries(deps.runtime.queries, list(receipts.values()))
    if error:
        mapped = mapped.failed(error)
    if mapped.error:
        with deps.threads.mapping:
            message = make_unreadable_message(source, mapped.delivery, mapped.id, faults_of(mapped.error))
        receipt = deps.intake.reject(message)
        jobs.append({"id": receipt.job, "state": "failed", "duplicate": receipt.duplicate})
    if not jobs:
        deps.runtime.emit("webhook.ignored", source=source.name, message=mapped.id, because=mapped.because)
    deps.deliveries.keep(source, partial(_make_record, deps.runtime.queries, source, mapped, receipts, jobs))
    return json_response(mapped.reply) if mapped.reply else _taken(source, jobs), mapped.outcome


def _make_record(
    queries: Queries,
    source: Source,
    mapped: MappedDelivery,
    receipts: Mapping[int, Receipt],
    jobs: Sequence[JobEntry],
) -> KeptDelivery:
    """Return the record of a delivery, with what was lost to the event ids that its rules name."""
    if mapped.changes and any(rule.event_id for rule in source.rules):  # of others an id is the message's
        mapped = mapped._replace(lost=find_lost(queries, mapped.changes, receipts))
    return record_delivery(source, mapped, [job["id"] for job in jobs])


def _taken(source: Source, jobs: Sequence[JobEntry]) -> Response:
    """Return the answer to a delivery that was taken, with the status and the text that its sender knows."""
    if source.answer == HTTPStatus.NO_CONTENT:
        return Response(status_code=source.answer)
    if (text := source.answer_body) is not None:
        return _send_text(text, source.answer)
    answer = accepted_response(jobs)
    answer.status_code = source.answer
    return answer


def _accept_mapped(
    intake: Intake, mapped: Sequence[MappedChange], correlation: str
) -> tuple[dict[int, Receipt], InvalidChange | None]:
    """Accept the changes, account by account; return receipts by position, and faults led by paths of rules.

    A redelivered message meets its first jobs, whatever its content is by now (R2).
    """
    changes = [msgspec.structs.replace(item.change, correlation=correlation) for item in mapped]
    receipts, error = intake.accept_parts(changes)
    if error:
        error = error.moved([item.path for item in mapped].__getitem__)
    return {at: receipts[at] for at in sorted(receipts)}, error


def _refuse_delivery(
    deps: HttpDeps,
    source: Source,
    request: Request,
    error: RelationsError,
    check: Mapping[str, object] | None,
) -> Response:
    """Note that a delivery cannot be taken; return the answer to it, or raise the error that says why.

    `check` is the answer to a sender that only checks the address.
    """
    deps.deliveries.count(source, "refused")
    if deps.refusals.note_webhook(source.name, error):
        size = request.headers.get("content-length", "")
        make = partial(
            record_refusal,
            source,
            deps.intake.new_id(),
            reason=reason_of(error),
            faults=faults_of(error),
            size=int(size) if size.isdecimal() and len(size) < MAX_DIGITS else 0,
        )
        keep = partial(copy_context().run, deps.deliveries.keep, source, make)
        asyncio.get_running_loop().run_in_executor(None, keep)  # beside the answer
    if check:
        return json_response(check)
    if source.answer_body == "" and isinstance(error, Unauthorized):  # Xero wants answers without a body
        return Response(status_code=401, headers={"WWW-Authenticate": error.challenge})
    if isinstance(error, InvalidSettings | BacklogFull):
        retry_after = error.retry_after if isinstance(error, BacklogFull) else SETTINGS_RETRY_AFTER
        raise Unavailable("this cannot be taken at the moment", retry_after=retry_after) from None
    if source.answer_faults and isinstance(error, TooLarge | Unsupported | Invalid):
        return _taken(source, [])
    raise error
