"""Who sent a webhook: one check per scheme, pure but for the secret it reveals; the clock is handed in.

A check returns the id of the message, the same when it is delivered again, or raises Unauthorized. What a message means is `rules`.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from producers.errors import Unauthorized
from worker.config import Source
from worker.config.values import Scheme
from worker.errors import Fault, InvalidSettings

TOLERANCE: Final = 300.0  # seconds between the sender's clock and ours
SECONDS: Final = re.compile(r"[0-9]{1,11}")
MILLISECONDS: Final = 13  # digits of a time in milliseconds, from 2001 to 2286
PLACES: Final = re.compile(r"\{(body|timestamp|method|url)\}")


class Delivery(NamedTuple):
    """What arrived. `headers` are looked up in lower case; `url` is the one the sender used."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


def verify(source: Source, delivery: Delivery, *, now: float) -> str:
    """The id of the message, once its sender has proved to know one of the source's secrets; `now` in seconds since the epoch.

    Raises Unauthorized, whatever is wrong with the proof; it never says how the right one would look.
    """
    return CHECKS[source.scheme](source, delivery._replace(url=_known_as(source, delivery.url)), now)


def _known_as(source: Source, url: str) -> str:
    """The address as the sender knows it, with the query that came."""
    query = urlsplit(url).query
    return f"{source.url}{f'?{query}' if query else ''}" if source.url else url


def _standard(source: Source, delivery: Delivery, now: float) -> str:
    """Standard Webhooks: the header lists signatures, one per secret in use."""
    message, moment, listed = (
        _header(delivery, f"webhook-{name}") for name in ("id", "timestamp", "signature")
    )
    _fresh(moment, now)
    try:
        text = delivery.body.decode()
    except UnicodeDecodeError:
        raise Unauthorized("the body is not UTF-8, so nobody signed it", challenge="Signature") from None
    at = datetime.fromtimestamp(int(moment), UTC)
    expected = [each.sign(message, at, text) for each in _webhooks(source)]
    _one_of(expected, listed.split())
    return message


def _webhooks(source: Source) -> list[Webhook]:
    try:
        return [Webhook(secret.reveal()) for secret in source.secrets]
    except (EmptyWebhookSecretError, ValueError):  # a file that was rotated to something else
        raise InvalidSettings(
            [Fault(f"sources.{source.name}.secret", "expected whsec_ and base64")]
        ) from None


def _hmac(source: Source, delivery: Delivery, now: float) -> str:
    """HMAC over what `signed` says: by default the body, after the time of sending and a dot if there is one.

    An equal body is the same message.
    """
    header = _header(delivery, source.header)
    fields = _fields(header) if source.signature_field else {}
    moment = (
        _header(delivery, source.timestamp_header)
        if source.timestamp_header
        else (fields.get(source.timestamp_field) or [""])[0]
    )
    if source.timestamp_header or source.timestamp_field:
        _fresh(moment[:-3] if len(moment) == MILLISECONDS else moment, now)
    signed = _signed(source.signed or ("{timestamp}.{body}" if moment else "{body}"), delivery, moment)
    given = fields.get(source.signature_field, []) if source.signature_field else [header]
    macs = [hmac.new(secret.reveal().encode(), signed, source.algorithm) for secret in source.secrets]
    if source.encoding == "base64":
        expected = [source.prefix + b64encode(mac.digest()).decode() for mac in macs]
    else:
        expected, given = (
            [source.prefix + mac.hexdigest() for mac in macs],
            [_lower_hex(each, source.prefix) for each in given],
        )
    _one_of(expected, given)
    return _digest(delivery.body)


def _fields(header: str) -> dict[str, list[str]]:
    """`t=1,v1=a,v1=b` by name."""
    found: dict[str, list[str]] = {}
    for piece in header.split(","):
        name, _, value = piece.strip().partition("=")
        found.setdefault(name, []).append(value)
    return found


def _signed(template: str, delivery: Delivery, moment: str) -> bytes:
    """What the signature covers."""
    values = {
        "body": delivery.body,
        "timestamp": moment.encode(),
        "method": delivery.method.encode(),
        "url": delivery.url.encode(),
    }
    texts = PLACES.split(template)  # text, place, text, …
    return b"".join(values[piece] if at % 2 else piece.encode() for at, piece in enumerate(texts))


def _lower_hex(given: str, prefix: str) -> str:
    return given[: len(prefix)] + given[len(prefix) :].lower()


def _bearer(source: Source, delivery: Delivery, _now: float) -> str:
    """The secret itself as a bearer token. An equal body is the same message."""
    scheme, _, token = delivery.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("send the secret of this source as `Authorization: Bearer SECRET`")
    if not _matches([secret.reveal() for secret in source.secrets], [token.strip()]):
        raise Unauthorized("this is not the secret of this source")
    return _digest(delivery.body)


def _onoffice(source: Source, delivery: Delivery, now: float) -> str:
    """onOffice: a GET (or POST), whose query is signed together with the address it was sent to."""
    parts = urlsplit(delivery.url)
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    given = fields.pop("signature", "")
    _fresh(fields.get("timestamp", ""), now)
    signed = f"{parts.scheme}://{parts.netloc}{parts.path}?{urlencode(sorted(fields.items()))}"
    _one_of(
        [
            hmac.new(secret.reveal().encode(), signed.encode(), hashlib.sha256).hexdigest()
            for secret in source.secrets
        ],
        [given.lower()],
    )
    return _digest(signed.encode())


CHECKS: Final[Mapping[Scheme, Callable[[Source, Delivery, float], str]]] = {
    "standard-webhooks": _standard,
    "hmac": _hmac,
    "bearer": _bearer,
    "onoffice": _onoffice,
}


def _header(delivery: Delivery, name: str) -> str:
    value = delivery.headers.get(name.lower(), "")
    if not value:
        raise Unauthorized(f"the header {name} is missing", challenge="Signature")
    return value


def _fresh(moment: str, now: float) -> None:
    if not SECONDS.fullmatch(moment):
        raise Unauthorized(
            "the time of sending is missing, or not in whole seconds since 1970", challenge="Signature"
        )
    if abs(int(moment) - now) > TOLERANCE:
        raise Unauthorized(
            f"the time of sending is more than {TOLERANCE:g} seconds from this server's clock",
            challenge="Signature",
        )


def _one_of(expected: list[str], given: list[str]) -> None:
    if not _matches(expected, given):
        raise Unauthorized("the signature does not match", challenge="Signature")


def _matches(expected: list[str], given: list[str]) -> bool:
    """Whether any is equal; the time it takes does not tell how far a wrong one is right."""
    pairs = [(right.encode(), each.encode()) for right in expected for each in given]
    return any(hmac.compare_digest(right, each) for right, each in pairs)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
