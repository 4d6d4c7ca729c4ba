"""What senders hand over with a message, kept in the files that the settings name, and nowhere else.

A secret comes when a hook is made, and is taken only while its file is not there: afterwards nobody can put
another one in its place. The claim that onOffice sends a marketplace provider comes with each call of a
customer, and the latest counts.
"""

import re
from collections.abc import Mapping
from typing import Final

from producers.webhooks.events import find_account
from producers.webhooks.fields import CLAIM, decode_text
from producers.webhooks.mapping import read_payload
from producers.webhooks.places import Places
from producers.webhooks.scope import Scope
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import signed_fields
from worker.config import Source
from worker.errors import Fault, InvalidChange, InvalidSettings
from worker.ports import EventSink

HANDED_OVER: Final = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")  # nothing that could be a page, or be guessed
MAX_CLAIM: Final = 4096  # characters


def awaits_secret(source: Source) -> bool:
    """Return whether the sender of a source has still to hand over its secret."""
    return bool(source.secret_from) and not source.secrets[0].written_at


def take_secret(source: Source, delivery: WebhookDelivery) -> Mapping[str, str] | None:
    """Keep the secret that is awaited; return the headers of the answer, None of anything else.

    A secret that came in a header is sent back in it. Raises InvalidSettings if it cannot be written.
    """
    secret = source.secrets[0]
    found = next(iter(Places(delivery).find(source.secret_from)), "")
    if not HANDED_OVER.fullmatch(found):
        return None
    try:
        if not secret.create(found):
            return None
    except OSError as error:
        reason = f"cannot be written: {error.strerror or type(error).__name__}"
        raise InvalidSettings([Fault(f"sources.{source.name}.secret", reason)]) from None
    secret.reveal()  # from now on no log shows it
    place, _, name = source.secret_from.partition(":")
    return {name: found} if place == "header" else {}


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
