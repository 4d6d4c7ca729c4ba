"""Takes the secret that a sender hands over when its hook is made, into the file of the source.

Only while that file is not there: afterwards nobody can put another one in its place.
"""

import re
from collections.abc import Mapping
from typing import Final

from producers.webhooks.places import Places
from producers.webhooks.signatures import WebhookDelivery
from worker.config import Source
from worker.errors import Fault, InvalidSettings

HANDED_OVER: Final = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")  # nothing that could be a page, or be guessed


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
