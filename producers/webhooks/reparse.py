"""Webhook messages that made no valid changes: how they are stored, and how they are read again later."""

from collections.abc import Mapping, Sequence

from producers.replay.resend import Correction, apply_correction, reparse_message
from producers.webhooks.events import find_account_of_all
from producers.webhooks.fields import drop_claim
from producers.webhooks.mapping import build_messages, make_change, read_payload
from producers.webhooks.proofs import hide_proofs
from producers.webhooks.request_parts import make_head, read_kept
from producers.webhooks.signatures import WebhookDelivery
from worker.config import Source
from worker.contract import Change
from worker.contract.quoting import quote
from worker.errors import Fault, InvalidChange
from worker.ports.job_admin import Payload
from worker.ports.records import JobRecord
from worker.ports.store import UnreadableMessage


def make_unreadable_message(
    source: Source, delivery: WebhookDelivery, message_id: str, faults: Sequence[str]
) -> UnreadableMessage:
    """Return the message as it is stored: what rules read of it, and its account if it names one."""
    query = delivery.url.partition("?")[2].encode("latin-1")
    shown = hide_proofs(source, delivery).body
    body = drop_claim(query) if source.scheme == "onoffice" else make_head(source, delivery) + shown
    try:
        account = find_account_of_all(source, read_payload(source, delivery), delivery)
    except InvalidChange:
        account = source.account
    return UnreadableMessage(account, source.name, message_id, tuple(faults), body, delivered=True)


def reparse(
    sources: Mapping[str, Source], job: JobRecord, payload: Payload, correction: Correction
) -> Sequence[Change]:
    """Return the changes that the present rules make of a stored message, corrected; raises InvalidChange.

    The source of any other message may bear the name of a webhook, and is no reason to read it by its rules.
    """
    source = sources.get(job.source) if payload.delivered is not False else None
    if source is None and payload.delivered:
        raise InvalidChange([Fault("", f"there is no webhook source {quote(job.source)} any more")])
    if source is None:
        return reparse_message(job, payload.body, correction)
    delivery = read_kept(source, payload.body)
    messages = build_messages(source, read_payload(source, delivery), job.event_id, delivery)
    return [make_change(apply_correction(mapped.message, correction), mapped.path) for mapped in messages]
