"""Verifies who sent a webhook, by one check per scheme. Pure but for the secret that it reveals.

A check returns the id of the message, the same for every delivery of it, or raises Unauthorized. What a
message means is `mapping`.
"""

import hashlib
import hmac
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from producers.errors import Unauthorized
from producers.webhooks.fields import Tree, encode_tree, make_tree, split_fields
from producers.webhooks.functions import further_parts
from producers.webhooks.places import Places
from producers.webhooks.proofs import hide_secret
from producers.webhooks.request_parts import make_head
from producers.webhooks.signatures import (
    SEPARATORS,
    SIGNABLE,
    WebhookDelivery,
    any_equal,
    check_time,
    is_signed_by_key,
    make_digests,
    parse_fields,
    read_digests,
    refusal,
)
from producers.webhooks.signed_content import find_params, make_contents
from producers.webhooks.tokens import check_detached, check_token
from worker.config import Secret, Source
from worker.config.values import Scheme
from worker.config.written_bytes import decode_bytes
from worker.errors import Fault, InvalidChange, InvalidSettings

UNSIGNED: Final = "no-secret-provided"  # what Cal.com sends as a signature without a secret
WRITTEN_BY: Final = "`algorithm`, `encoding`, `prefix` and `signature_field` say how it is written"
# Characters of a sender's own id of a message; for a longer one its hash stands.
MAX_MESSAGE_ID: Final = 128


def verify(source: Source, delivery: WebhookDelivery, *, now: float) -> str:
    """Return the id of the message if its sender knows one of the source's secrets.

    `now` is in seconds since 1970. Raises Unauthorized, whose text never shows what the right signature
    would be.
    """
    if source.scheme != "secret":  # which signs nothing, and may stand in the address as it came
        delivery = delivery._replace(url=_sent_url(source, delivery))
    return CHECKS[source.scheme](source, delivery, now)


def _sent_url(source: Source, delivery: WebhookDelivery) -> str:
    """Return the URL as the sender knows it: behind a proxy, the configured one with what came behind it.

    That is the query, and the further parts of the address, unless the configured one ends in them.
    """
    known, query = source.url.encode().decode("latin-1"), delivery.url.partition("?")[2]
    further = "".join(f"/{raw}" for _, raw in further_parts(delivery))
    known += "" if known.endswith(further) else further
    return f"{known}{f'?{query}' if query else ''}" if source.url else delivery.url


def _verify_standard(source: Source, delivery: WebhookDelivery, now: float) -> str:
    """Verify by Standard Webhooks, or Svix from which it came: a signature per secret in use."""
    family = "svix" if "svix-id" in delivery.headers and "webhook-id" not in delivery.headers else "webhook"
    message_id, timestamp, signatures = (
        _require_header(delivery, f"{family}-{name}") for name in ("id", "timestamp", "signature")
    )
    check_time(timestamp, now, only_seconds=True)
    try:
        text = delivery.body.decode()
    except UnicodeDecodeError:
        raise refusal("the body is not UTF-8, so nobody signed it") from None
    if source.public_keys:
        content = f"{message_id}.{timestamp}.{text}".encode("utf-8", "surrogatepass")
        _check_signed(source, [content], _read_asymmetric(signatures))
        return _short_id(message_id)
    sent_at = datetime.fromtimestamp(int(timestamp), UTC)
    expected = [webhook.sign(message_id, sent_at, text) for webhook in _load_webhooks(source)]
    _check_equal(expected, signatures.split())
    return _short_id(message_id)


def _short_id(message_id: str) -> str:
    return message_id if len(message_id) <= MAX_MESSAGE_ID else _hash(message_id.encode())


def _read_asymmetric(signatures: str) -> list[bytes]:
    """Return the signatures by a private key (`v1a,…`) among those of Standard Webhooks."""
    texts = [text.removeprefix("v1a,") for text in signatures.split() if text.startswith("v1a,")]
    return [signature for text in texts if (signature := decode_bytes(text, "base64"))]


def _check_signed(source: Source, contents: Sequence[bytes], signatures: Sequence[bytes]) -> None:
    """Raise Unauthorized unless one of the signatures is by one of the keys, over one of the contents."""
    if not is_signed_by_key(source, contents, signatures):
        raise refusal("the signature does not match")


def _load_webhooks(source: Source) -> list[Webhook]:
    try:
        return [Webhook(secret.reveal()) for secret in source.secrets]
    except (EmptyWebhookSecretError, ValueError):  # a secret's file was replaced by something else
        raise InvalidSettings(
            [Fault(f"sources.{source.name}.secret", "expected whsec_ and base64")]
        ) from None


def _verify_signature(source: Source, delivery: WebhookDelivery, now: float) -> str:
    """Verify an HMAC, or a signature by a private key, over the content that `signed` describes.

    By default that is the body, after the timestamp and a dot if there is a timestamp. Two deliveries with
    equal bodies are the same message.
    """
    places = Places(delivery)
    written = _require(places, source.signature_place, "signature")
    if UNSIGNED in written:
        raise refusal(
            "its sender has no secret for this hook: set the one of this source there", reason="no_proof"
        )
    fields = parse_fields(written[0]) if source.signature_field else {}
    timestamp = ""
    if source.timestamp_place:
        timestamp = _require(places, source.timestamp_place, "time")[0]
    elif source.timestamp_field:
        timed = parse_fields(find_params(source, places)) if "{params}" in source.signed else fields
        timestamp = timed.get(source.timestamp_field, [""])[0]
    if source.timestamp_place or source.timestamp_field:
        check_time(timestamp, now, max_age=source.max_age)
    received = [part for text in written for part in SEPARATORS.split(text)]
    if source.signature_field:
        received = fields.get(source.signature_field, [])
    contents = make_contents(source, places, timestamp)
    if source.signs_challenge and any(SIGNABLE.fullmatch(content.decode("latin-1")) for content in contents):
        raise refusal("what it signed could be a challenge of its sender, which anybody can have signed")
    _check_contents(source, contents, received)
    return make_message_id(source, delivery)


def _check_contents(source: Source, contents: Sequence[bytes], received: Sequence[str]) -> None:
    """Raise Unauthorized unless one of the signatures is of one of the contents, in the way of the source."""
    if source.encoding == "jws":
        check_detached(source, [text.removeprefix(source.prefix) for text in received], contents)
        return
    digests, is_hmac = read_digests(source, received), source.scheme == "hmac"
    size = hashlib.new(source.algorithm).digest_size
    if not any(len(digest) == size if is_hmac else digest for digest in digests):
        kind = f"HMAC by {source.algorithm}" if is_hmac else "signature"
        how = f"{kind} in {source.encoding or 'hex or base64'}"
        raise refusal(f"what stands in place of a signature is no {how}; {WRITTEN_BY}")
    if not is_hmac:
        _check_signed(source, contents, digests)
    elif not any_equal(make_digests(source, contents), digests):
        raise refusal("the signature does not match")


def _verify_token(source: Source, delivery: WebhookDelivery, now: float) -> str:
    """Verify a JSON Web Token; two deliveries with equal bodies are the same message.

    If the token is the body, what it signs is the message: its signature can be written in many ways.
    """
    places = Places(delivery)
    token = _require(places, source.signature_place, "token")[0]
    if source.timestamp_place:
        check_time(_require(places, source.timestamp_place, "time")[0], now, max_age=source.max_age)
    check_token(source, token, delivery, now, is_timed=bool(source.timestamp_place))
    if source.signature_in == "body":
        delivery = delivery._replace(body=token.rpartition(" ")[2].rpartition(".")[0].encode())
    return make_message_id(source, delivery)


def _verify_bearer(source: Source, delivery: WebhookDelivery, _now: float) -> str:
    """Verify that the bearer token is the secret; two deliveries with equal bodies are the same message."""
    token = _require_authorization(delivery, "Bearer", "the secret of this source", "SECRET")
    _check_secret(source, [token])
    return make_message_id(source, delivery)


def _verify_basic(source: Source, delivery: WebhookDelivery, _now: float) -> str:
    """Verify user and password; a secret without a colon is the password of any user."""
    token, sent = _require_authorization(delivery, "Basic", "user and password of this source", "…"), b""
    with suppress(ValueError):
        sent = b64decode(token, validate=True)
    given = [sent.decode("utf-8", "replace"), sent.decode("latin-1")]  # clients write either
    _check_secret(source, [*given, *(text.partition(":")[2] for text in given)], challenge="Basic")
    return make_message_id(source, delivery)


def _verify_secret(source: Source, delivery: WebhookDelivery, _now: float) -> str:
    """Verify a secret that stands in a header, in the query, in the path or in the body."""
    for secret in source.secrets:
        hide_secret(secret.reveal())
    _check_secret(source, _require(Places(delivery), source.secret_in, "secret"))
    return make_message_id(source, delivery)


def _verify_onoffice(source: Source, delivery: WebhookDelivery, now: float) -> str:
    """Verify a GET (or POST) of onOffice, whose query is signed together with the address it was sent to.

    The query is signed as PHP writes it, sorted by name; its names are those of the sender or as PHP reads
    them.
    """
    address = delivery.url.partition("?")[0]
    signed = signed_fields(delivery.url)
    received, timestamp = signed.pop("signature", ""), signed.get("timestamp", "")
    check_time(timestamp if isinstance(timestamp, str) else "", now, only_seconds=True)
    as_sent = signed_fields(delivery.url, as_php_reads=False)
    as_sent.pop("signature", None)
    contents = [f"{address}?{encode_tree(fields)}".encode() for fields in (signed, as_sent)]
    expected = [_hex_mac(secret, content) for secret in source.secrets for content in contents]
    _check_equal(expected, [str(received).lower()])
    return _hash(contents[0])


def signed_fields(url: str, *, as_php_reads: bool = True) -> Tree:
    """Return the fields of a query that onOffice signed, sorted by name; one named twice is refused."""
    try:
        tree = make_tree(split_fields(url.partition("?")[2].encode("latin-1")), as_php_reads=as_php_reads)
    except InvalidChange as error:
        raise refusal(f"the query cannot be checked: {error}") from None
    return Tree(sorted(tree.items()))


def _hex_mac(secret: Secret, content: bytes) -> str:
    return hmac.new(secret.reveal().encode(), content, hashlib.sha256).hexdigest()


CHECKS: Final[Mapping[Scheme, Callable[[Source, WebhookDelivery, float], str]]] = {
    "standard-webhooks": _verify_standard,
    "hmac": _verify_signature,
    "public-key": _verify_signature,
    "jwt": _verify_token,
    "bearer": _verify_bearer,
    "basic": _verify_basic,
    "secret": _verify_secret,
    "onoffice": _verify_onoffice,
}


def _require_header(delivery: WebhookDelivery, name: str) -> str:
    if not (value := delivery.headers.get(name.lower(), "")):
        raise refusal(f"the header {name} is missing", reason="no_proof")
    return value


def _require_authorization(delivery: WebhookDelivery, scheme: str, what: str, token: str) -> str:
    """Return the token behind a scheme; raise Unauthorized, and say what to send in place of it."""
    given, _, sent = delivery.headers.get("authorization", "").partition(" ")
    if given.lower() != scheme.lower():
        text = f"send {what} as `Authorization: {scheme} {token}`"
        raise Unauthorized(text, challenge=scheme, reason="no_proof")
    return sent.strip()


def _require(places: Places, place: str, what: str) -> list[str]:
    """Return what stands at a place; raise Unauthorized if that is nothing."""
    kind, _, name = place.partition(":")
    if not (found := places.find(place)):
        missing = f"the header {name} is missing" if kind == "header" else f"there is no {what} at {place}"
        raise refusal(missing, reason="no_proof")
    return found


def _check_equal(expected: list[str], received: list[str]) -> None:
    """Raise Unauthorized unless a received signature is one of those expected, as texts."""
    if not any_equal([text.encode() for text in expected], [text.encode() for text in received]):
        raise refusal("the signature does not match")


def _check_secret(source: Source, given: Iterable[str], *, challenge: str = "Bearer") -> None:
    """Raise Unauthorized unless one of the texts is a secret of the source.

    Digests are compared, so that not even the length of a secret shows in the time it takes.
    """
    secrets = [_digest(secret.reveal()) for secret in source.secrets]
    if not any_equal(secrets, [_digest(text) for text in given]):
        raise Unauthorized("this is not the secret of this source", challenge=challenge, reason="secret")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def make_message_id(source: Source, delivery: WebhookDelivery) -> str:
    """Return the id of a message without one: its content, and what rules read beside it.

    Without a body the address is the content.
    """
    body = delivery.body or delivery.url.partition("://")[2].partition("/")[2].encode("latin-1")
    return _hash(make_head(source, delivery) + body)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
