"""Keeps the claim that onOffice sends a marketplace provider: each call of a customer brings the latest.

It is written into the file that the account's `extendedclaim` names, and nowhere else.
"""

from typing import Final

from producers.webhooks.events import find_account
from producers.webhooks.fields import CLAIM, decode_text
from producers.webhooks.mapping import read_payload
from producers.webhooks.scope import Scope
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import signed_fields
from worker.config import Source
from worker.errors import InvalidChange
from worker.ports.services import EventSink

MAX_CLAIM: Final = 4096  # characters


def keep_claim(source: Source, delivery: WebhookDelivery, *, now: float, emit: EventSink) -> None:
    """Write the claim of a genuine call, if it brings one, and another and later one than is there."""
    if not source.keeps_claim:
        return
    fields = signed_fields(delivery.url)
    claim = decode_text(str(fields.get(CLAIM, "")).encode("latin-1", "replace"))
    if not (0 < len(claim) <= MAX_CLAIM and claim.isprintable()):
        return
    try:
        name = find_account(source, Scope(read_payload(source, delivery), delivery=delivery))
    except InvalidChange:  # a customer that the source does not know
        return
    secret = source.owners[name].extendedclaim if name in source.owners else None
    if secret is None or secret.file is None:
        return
    try:
        if secret.replace(claim, at=min(float(str(fields["timestamp"])), now)):
            emit("claim.written", account=name, source=source.name)
    except OSError as error:  # what the call says is accepted all the same
        emit("claim.lost", account=name, source=source.name, error=error.strerror or type(error).__name__)
