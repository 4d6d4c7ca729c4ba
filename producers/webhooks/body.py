"""The body of a webhook as a value that rules can search. Pure."""

import msgspec

from producers.webhooks.signatures import WebhookDelivery
from worker.errors import Fault, InvalidChange


def read_body_value(delivery: WebhookDelivery) -> object:
    """Return the value of a body; raise InvalidChange if it cannot be read."""
    try:
        return msgspec.json.decode(delivery.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidChange([Fault("", f"expected JSON: {error}")]) from None
