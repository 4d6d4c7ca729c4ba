"""How senders check an address before they use it: challenges that they want to read again, and pings. Pure.

Nothing is ever accepted of one. A challenge is sent back only where it cannot be a page, and what has to be
signed only to a sender that has proved itself, as it could let anything be signed, or where the settings say
so and it is a word that is taken for no message.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Final

from producers.errors import Unauthorized
from producers.webhooks.body import read_body_value
from producers.webhooks.places import Places
from producers.webhooks.request_parts import show_query
from producers.webhooks.scope import NO_DELIVERY
from producers.webhooks.signatures import SIGNABLE, WebhookDelivery
from worker.config import Source
from worker.errors import Fault, Invalid, InvalidChange

# Parameters of the address that are sent back, as Meta, Dropbox and Microsoft (in either case) have them.
CHALLENGES: Final = ("hub.challenge", "challenge", "validationToken", "validationtoken")
CHALLENGE: Final = re.compile(r"[A-Za-z0-9._~:/+= -]{1,512}")  # nothing that could be a page
CHALLENGE_FIELDS: Final = frozenset({"challenge", "type", "token", "webhookId"})  # all that one in a body has
# Headers that are sent back with each answer, as RingCentral, Acrobat Sign and Smartsheet have them.
ECHOED: Final = {
    "validation-token": "Validation-Token",
    "x-adobesign-clientid": "X-AdobeSign-ClientId",
    "smartsheet-hook-challenge": "Smartsheet-Hook-Response",
}
EVENT_GRID: Final = "Microsoft.EventGrid.SubscriptionValidationEvent"
EVENT_NAMES: Final = ("type", "event", "eventType", "event_type", "triggerEvent", "topic", "action")
PING: Final = re.compile(r"((web)?hook|endpoint|event)?[._: -]?(ping|test)", re.IGNORECASE)
MAX_PING: Final = 4096  # bytes
LOST: Final = (
    "a signature came by GET, without its message: a redirect, such as from http to https, drops what is "
    "posted; give the sender the address that it ends at"
)


def check_not_lost(source: Source, headers: Mapping[str, str]) -> None:
    """Raise Invalid for a signature without a message: it was posted, and a redirect has made a GET of it.

    Taken for a look, all that its sender sends would be lost, and well on both sides.
    """
    standard = ("webhook-signature", "svix-signature") if source.scheme == "standard-webhooks" else ()
    if any(headers.get(name.lower()) for name in (source.header, *standard)):
        raise Invalid([Fault("", LOST)])


def find_challenge(query: Mapping[str, str]) -> str:
    """Return the challenge in the parameters of an address; nothing if there is none, or no harmless one."""
    challenge = next((text for name in CHALLENGES if (text := query.get(name))), "")
    return challenge if CHALLENGE.fullmatch(challenge) else ""


def answer_own_check(source: Source, url: str, headers: Mapping[str, str]) -> str:
    """Return what the settings answer to a challenge where they say that one stands; nothing without one.

    What is signed of it could be no message: `verify` takes none whose signature covers just such a word.
    """
    if not source.challenge_in:
        return ""
    found = Places(WebhookDelivery(url, headers, b"", "GET")).find(source.challenge_in)
    challenge = found[0] if found else ""
    if not (SIGNABLE if source.signs_challenge else CHALLENGE).fullmatch(challenge):
        return ""
    values = {"{challenge}": challenge}
    if source.signs_challenge:
        mac = hmac.digest(source.secrets[0].reveal().encode(), challenge.encode(), source.algorithm)
        values |= {"{hmac}": mac.hex(), "{hmac_base64}": b64encode(mac).decode()}
    return re.sub(r"\{[a-z0-9_]+\}", lambda name: values.get(name[0], name[0]), source.challenge_answer)


def find_echo(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of the answer by which a sender knows that its request came to us."""
    given = ((ECHOED[name], headers.get(name, "")) for name in ECHOED)
    return {name: value for name, value in given if CHALLENGE.fullmatch(value)}


def answer_check(
    source: Source, payload: object, delivery: WebhookDelivery = NO_DELIVERY
) -> Mapping[str, object] | None:
    """Return what a sender that proved itself wants to read again; None of a message."""
    if payload is None and _is_look(source, delivery):
        return {"jobs": []}
    if challenge := _find_challenge_in_body(payload):
        return {"challenge": challenge}
    if code := _find_validation_code(payload):
        return {"validationResponse": code}
    inner = payload.get("payload") if isinstance(payload, dict) else None
    token = inner.get("plainToken") if isinstance(inner, dict) else None
    if source.scheme != "hmac" or not (isinstance(token, str) and CHALLENGE.fullmatch(token)):
        return None
    key = source.secrets[0].reveal().encode()
    encrypted = hmac.digest(key, token.encode(), "sha256").hex()
    return {"plainToken": token, "encryptedToken": encrypted}  # Zoom's


def answer_unproved(
    source: Source, delivery: WebhookDelivery, error: Unauthorized
) -> Mapping[str, object] | None:
    """Return the answer to a check by a sender that proves nothing by it; None of what may be a message.

    Whatever brings a proof is no such check: a wrong one stays an error. A secret that is sent as it is comes
    with each check but RingCentral's: without it the address is not the right one, which its owner shall see.
    """
    if error.reason != "no_proof" or len(delivery.body) > MAX_PING:
        return None
    if source.scheme == "secret" and not find_echo(delivery.headers):
        return None
    try:
        payload = read_body_value(delivery)
    except InvalidChange:
        return None
    if challenge := _find_challenge_in_body(payload):
        return {"challenge": challenge}
    if _is_ping(payload, delivery):
        return {"jobs": [], "detail": f"taken as a ping, of which nothing is accepted: {error}"}
    return None


def _find_challenge_in_body(payload: object) -> str:
    """Return the challenge of a body that is nothing else, as of Slack and monday.com."""
    if not isinstance(payload, dict) or not payload.keys() <= CHALLENGE_FIELDS:
        return ""
    challenge = payload.get("challenge")
    return challenge if isinstance(challenge, str) and CHALLENGE.fullmatch(challenge) else ""


def _find_validation_code(payload: object) -> str:
    """Return the code of Azure Event Grid's check, which is a list of this one event."""
    event = payload[0] if isinstance(payload, list) and len(payload) == 1 else None
    if not isinstance(event, dict) or event.get("eventType") != EVENT_GRID:
        return ""
    data = event.get("data")
    code = data.get("validationCode") if isinstance(data, dict) else None
    return code if isinstance(code, str) and CHALLENGE.fullmatch(code) else ""


def _is_look(source: Source, delivery: WebhookDelivery) -> bool:
    """Return whether a request without a body only looks: it has a secret at most, or what is sent back."""
    if find_echo(delivery.headers):
        return True
    return delivery.method == "GET" and not show_query(source, delivery)


def _is_ping(payload: object, delivery: WebhookDelivery) -> bool:
    """Return whether it only says that it is one: it is empty, names itself so, or is WooCommerce's."""
    if payload is None:
        return "?" not in delivery.url
    if not isinstance(payload, dict):
        return False
    named = (payload.get(name) for name in EVENT_NAMES)
    return payload.keys() == {"webhook_id"} or any(
        isinstance(name, str) and PING.fullmatch(name) for name in named
    )
