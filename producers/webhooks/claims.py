"""Keeps the claim that onOffice sends a marketplace provider: each call of a customer brings the latest.

It is written into the file that the account's `extendedclaim` names, and nowhere else.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from producers.webhooks.events import find_account
from producers.webhooks.fields import CLAIM, decode_text
from producers.webhooks.mapping import read_payload
from producers.webhooks.scope import Scope
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import signed_fields
from worker.config import Account, Source
from worker.errors import InvalidChange

MAX_CLAIM: Final = 4096  # characters


class KeptClaim(NamedTuple):
    """The account whose claim a call brought, and why it could not be written ("" if it was)."""

    account: str
    error: str = ""


def keep_claim(
    source: Source, accounts: Mapping[str, Account], delivery: WebhookDelivery, *, now: float
) -> KeptClaim | None:
    """Write the claim of a genuine call; None if it brings none, or no other and later one than is there."""
    if not source.keeps_claim:
        return None
    fields = signed_fields(delivery.url)
    claim = decode_text(str(fields.get(CLAIM, "")).encode("latin-1", "replace"))
    if not (0 < len(claim) <= MAX_CLAIM and claim.isprintable()):
        return None
    try:
        name = find_account(source, Scope(read_payload(source, delivery), delivery=delivery))
    except InvalidChange:  # a customer that the source does not know
        return None
    secret = accounts[name].extendedclaim if name in accounts else None
    if secret is None or secret.file is None:
        return None
    try:
        is_written = secret.replace(claim, at=min(float(str(fields["timestamp"])), now))
    except OSError as error:
        return KeptClaim(name, error.strerror or type(error).__name__)
    return KeptClaim(name) if is_written else None
