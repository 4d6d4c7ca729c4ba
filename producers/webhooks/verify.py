"""Verifies who sent a webhook, by one check per signature scheme. Pure but for the secret that it reveals.

A check returns the id of the message, the same for every delivery of it, or raises Unauthorized. What a
message means is `mapping`.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from producers.errors import Unauthorized
from producers.webhooks.fields import Tree, encode_tree, make_tree, split_fields
from worker.config import Secret, Source
from worker.config.values import Scheme
from worker.errors import Fault, InvalidChange, InvalidSettings

TOLERANCE: Final = 300.0  # seconds between the sender's clock and ours
WHOLE_SECONDS: Final = re.compile(r"[0-9]{1,11}")
MILLISECOND_DIGITS: Final = 13  # of a time in milliseconds, from 2001 to 2286
PLACEHOLDER: Final = re.compile(r"\{(body|timestamp|method|url)\}")


class WebhookDelivery(NamedTuple):
    """A webhook as it arrived. `headers` are looked up in lower case; `url` is the one the sender used.

    The URL has every byte as a character of Latin-1.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


def verify(source: Source, delivery: WebhookDelivery, *, now: float) -> str:
    """Return the id of the message if its sender knows one of the source's secrets.

    `now` is in seconds since 1970. Raises Unauthorized, whose text never shows what the right signature
    would be.
    """
    return CHECKS[source.scheme](source, delivery._replace(url=_sent_url(source, delivery.url)), now)


def _sent_url(source: Source, url: str) -> str:
    """Return the URL as the sender knows it: behind a proxy, the configured one with the query that came."""
    query = url.partition("?")[2]
    known = source.url.encode().decode("latin-1")
    return f"{known}{f'?{query}' if query else ''}" if known else url


def _verify_standard(source: Source, delivery: WebhookDelivery, now: float) -> str:
    """Verify by Standard Webhooks: the header lists signatures, one per secret in use."""
    message_id, timestamp, signatures = (
        _require_header(delivery, f"webhook-{name}") for name in ("id", "timestamp", "signature")
    )
    _check_timestamp(timestamp, now)
    try:
        text = delivery.body.decode()
    except UnicodeDecodeError:
        raise Unauthorized("the body is not UTF-8, so nobody signed it", challenge="Signature") from None
    sent_at = datetime.fromtimestamp(int(timestamp), UTC)
    expected = [webhook.sign(message_id, sent_at, text) for webhook in _load_webhooks(source)]
    _check_signature(expected, signatures.split())
    return message_id


def _load_webhooks(source: Source) -> list[Webhook]:
    try:
        return [Webhook(secret.reveal()) for secret in source.secrets]
    except (EmptyWebhookSecretError, ValueError):  # a secret's file was replaced by something else
        raise InvalidSettings(
            [Fault(f"sources.{source.name}.secret", "expected whsec_ and base64")]
        ) from None


def _verify_hmac(source: Source, delivery: WebhookDelivery, now: float) -> str:
    """Verify an HMAC over the content that `signed` describes.

    By default that is the body, after the timestamp and a dot if there is a timestamp. Two deliveries with
    equal bodies are the same message.
    """
    header = _require_header(delivery, source.header)
    fields = _parse_fields(header) if source.signature_field else {}
    timestamp = ""
    if source.timestamp_header:
        timestamp = _require_header(delivery, source.timestamp_header)
    elif source.timestamp_field:
        timestamp = fields.get(source.timestamp_field, [""])[0]
    if source.timestamp_header or source.timestamp_field:
        _check_timestamp(timestamp[:-3] if len(timestamp) == MILLISECOND_DIGITS else timestamp, now)
    template = source.signed or ("{timestamp}.{body}" if timestamp else "{body}")
    received = fields.get(source.signature_field, []) if source.signature_field else [header]
    if source.encoding == "hex":
        received = [_lower_hex(signature, source.prefix) for signature in received]
    _check_signature(_sign(source, _fill_template(template, delivery, timestamp)), received)
    return _hash(delivery.body)


def _sign(source: Source, content: bytes) -> list[str]:
    """Return the signatures by each of the source's secrets, written as the sender writes them."""
    macs = [hmac.new(secret.reveal().encode(), content, source.algorithm) for secret in source.secrets]
    if source.encoding == "base64":
        return [source.prefix + b64encode(mac.digest()).decode() for mac in macs]
    return [source.prefix + mac.hexdigest() for mac in macs]


def _parse_fields(header: str) -> dict[str, list[str]]:
    """Return the values of a header such as `t=1,v1=a,v1=b` by name."""
    fields: dict[str, list[str]] = {}
    for pair in header.split(","):
        name, _, value = pair.strip().partition("=")
        fields.setdefault(name, []).append(value)
    return fields


def _fill_template(template: str, delivery: WebhookDelivery, timestamp: str) -> bytes:
    """Return the signed content: the template with its placeholders replaced."""
    values = {
        "body": delivery.body,
        "timestamp": timestamp.encode(),
        "method": delivery.method.encode(),
        "url": delivery.url.encode("latin-1"),
    }
    parts = PLACEHOLDER.split(template)  # text, name, text, name, …, text
    return b"".join(values[part] if index % 2 else part.encode() for index, part in enumerate(parts))


def _lower_hex(signature: str, prefix: str) -> str:
    """Return the signature with its hex digits in lower case, since some senders write capitals."""
    return signature[: len(prefix)] + signature[len(prefix) :].lower()


def _verify_bearer(source: Source, delivery: WebhookDelivery, _now: float) -> str:
    """Verify that the bearer token is the secret; two deliveries with equal bodies are the same message."""
    scheme, _, token = delivery.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("send the secret of this source as `Authorization: Bearer SECRET`")
    if not _any_equal((secret.reveal() for secret in source.secrets), [token.strip()]):
        raise Unauthorized("this is not the secret of this source")
    return _hash(delivery.body)


def _verify_onoffice(source: Source, delivery: WebhookDelivery, now: float) -> str:
    """Verify a GET (or POST) of onOffice, whose query is signed together with the address it was sent to.

    The query is signed as PHP writes it, sorted by name; its names are those of the sender or as PHP reads
    them.
    """
    address = delivery.url.partition("?")[0]
    signed = signed_fields(delivery.url)
    received, timestamp = signed.pop("signature", ""), signed.get("timestamp", "")
    _check_timestamp(timestamp if isinstance(timestamp, str) else "", now)
    as_sent = signed_fields(delivery.url, as_php_reads=False)
    as_sent.pop("signature", None)
    contents = [f"{address}?{encode_tree(fields)}".encode() for fields in (signed, as_sent)]
    expected = [_hex_mac(secret, content) for secret in source.secrets for content in contents]
    _check_signature(expected, [str(received).lower()])
    return _hash(contents[0])


def signed_fields(url: str, *, as_php_reads: bool = True) -> Tree:
    """Return the fields of a query that onOffice signed, sorted by name; one named twice is refused."""
    try:
        tree = make_tree(split_fields(url.partition("?")[2].encode("latin-1")), as_php_reads=as_php_reads)
    except InvalidChange as error:
        raise Unauthorized(f"the query cannot be checked: {error}", challenge="Signature") from None
    return Tree(sorted(tree.items()))


def _hex_mac(secret: Secret, content: bytes) -> str:
    return hmac.new(secret.reveal().encode(), content, hashlib.sha256).hexdigest()


CHECKS: Final[Mapping[Scheme, Callable[[Source, WebhookDelivery, float], str]]] = {
    "standard-webhooks": _verify_standard,
    "hmac": _verify_hmac,
    "bearer": _verify_bearer,
    "onoffice": _verify_onoffice,
}


def _require_header(delivery: WebhookDelivery, name: str) -> str:
    value = delivery.headers.get(name.lower(), "")
    if not value:
        raise Unauthorized(f"the header {name} is missing", challenge="Signature")
    return value


def _check_timestamp(timestamp: str, now: float) -> None:
    """Raise Unauthorized unless it is in whole seconds since 1970 and near `now`."""
    if not WHOLE_SECONDS.fullmatch(timestamp):
        raise Unauthorized(
            "the time of sending is missing, or not in whole seconds since 1970", challenge="Signature"
        )
    if abs(int(timestamp) - now) > TOLERANCE:
        raise Unauthorized(
            f"the time of sending is more than {TOLERANCE:g} seconds from this server's clock",
            challenge="Signature",
        )


def _check_signature(expected: list[str], received: list[str]) -> None:
    if not _any_equal(expected, received):
        raise Unauthorized("the signature does not match", challenge="Signature")


def _any_equal(expected: Iterable[str], received: list[str]) -> bool:
    """Return whether any two are equal; the time it takes does not show how much of a wrong one is right."""
    pairs = [(right.encode(), given.encode()) for right in expected for given in received]
    return any(hmac.compare_digest(right, given) for right, given in pairs)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
