"""Signatures as senders write them: hex or base64, one or several, over a content with a time. Pure.

By a shared secret (HMAC), or by a private key, whose kind says how it signs: what came cannot choose a weaker
way.
"""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from producers.errors import RefusalReason, Unauthorized
from worker.config import Source
from worker.config.public_keys import read_public_keys
from worker.config.written_bytes import decode_bytes
from worker.contract.instant import SECOND, read_instant
from worker.errors import Fault, InvalidSettings

if TYPE_CHECKING:
    from worker.config.public_keys import PublicKey

TOLERANCE: Final = 300.0  # seconds between the sender's clock and ours
WHOLE_SECONDS: Final = re.compile(r"[0-9]{1,11}")
SECONDS: Final = re.compile(r"[0-9]{1,11}[.][0-9]{1,9}")  # as Python writes them
DIGITS_OF_UNITS: Final = {13: 10**3, 16: 10**6, 19: 10**9}  # of a time from 2001 to 2286, per second
SEPARATORS: Final = re.compile(r"[,;\s]+")  # between signatures, or between the fields of one header
SIGNABLE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)  # a challenge that may be signed
LEAST_KEY: Final = 16  # bytes of a key that is not taken as it is written


class WebhookDelivery(NamedTuple):
    """A webhook as it arrived. `headers` are looked up in lower case; `url` is the one the sender used.

    The URL has every byte as a character of Latin-1. `root` is what its path has above `/webhooks/NAME`.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"
    root: str = ""


def check_time(text: str, now: float, *, only_seconds: bool = False, max_age: float = TOLERANCE) -> None:
    """Raise Unauthorized unless a time of sending is readable and near `now`.

    It may be so many seconds ago, since some repeat for hours under the time of the first try. It is in
    whole seconds since 1970 or, unless only these are allowed, with a fraction, in milliseconds or by
    RFC 3339, or as the header Date has it.
    """
    sent = _read_time(text, only_seconds=only_seconds)
    if sent is None:
        known = (
            "whole seconds since 1970" if only_seconds else "seconds or milliseconds since 1970 or RFC 3339"
        )
        raise refusal(f"the time of sending is missing, or not in {known}", reason="no_proof")
    if not -TOLERANCE <= now - sent <= max_age:
        raise refusal(
            f"the time of sending is more than {max_age if sent < now else TOLERANCE:g} seconds from this "
            "server's clock",
            reason="stale",
        )


def _read_time(text: str, *, only_seconds: bool) -> float | None:
    if WHOLE_SECONDS.fullmatch(text):
        return int(text)
    if only_seconds:
        return None
    if SECONDS.fullmatch(text):
        return float(text)
    if text.isascii() and text.isdigit() and len(text) in DIGITS_OF_UNITS:
        return int(text) / DIGITS_OF_UNITS[len(text)]
    with suppress(ValueError):
        return read_instant(text) / SECOND
    with suppress(ValueError, OverflowError):
        return parsedate_to_datetime(text).timestamp() if text.endswith(" GMT") else None
    return None


def parse_fields(header: str) -> dict[str, list[str]]:
    """Return the values of a header such as `t=1,v1=a,v1=b`, `ts=1;h1=a` or `signature="a"` by name."""
    fields: dict[str, list[str]] = {}
    for pair in SEPARATORS.split(header.strip()):
        name, _, value = pair.partition("=")
        fields.setdefault(name, []).append(value.strip('"'))
    return fields


def make_digests(source: Source, contents: Iterable[bytes]) -> list[bytes]:
    """Return the digests by each of the source's secrets of each content that the sender may have signed."""
    keys = [key for secret in source.secrets for key in read_keys(secret.reveal())]
    return [hmac.digest(key, content, source.algorithm) for content in contents for key in keys]


def read_keys(secret: str) -> list[bytes]:
    """Return the keys that a secret may stand for: its text, and the bytes that it writes as hex or base64.

    Whoever does not know the secret knows none of them.
    """
    written = secret.removeprefix("whsec_")
    decoded = {key for encoding in ("hex", "base64") if (key := decode_bytes(written, encoding))}
    return [secret.encode(), *(key for key in decoded if len(key) >= LEAST_KEY)]


def read_digests(source: Source, received: Iterable[str]) -> list[bytes]:
    """Return the digests that a sender wrote as hex or base64, behind a prefix or without it."""
    texts = (text.removeprefix(source.prefix).removeprefix(f"{source.algorithm}=") for text in received)
    texts = (text.strip(":") for text in texts)  # which stand around it in HTTP message signatures
    return [digest for text in texts if (digest := decode_bytes(text, source.encoding)) is not None]


def any_equal(expected: Sequence[bytes], received: Sequence[bytes]) -> bool:
    """Return whether any two are equal; the time it takes does not show how much of a wrong one is right."""
    found = [hmac.compare_digest(right, given) for right in expected for given in received]
    return any(found)


def refusal(message: str, *, reason: RefusalReason = "signature") -> Unauthorized:
    """Return the error of a signature that does not prove who sent it."""
    return Unauthorized(message, challenge="Signature", reason=reason)


# --- by a private key, checked by the public one: Ed25519, ECDSA and RSA

MAX_SIGNATURES: Final = 8  # of one delivery that are tried: each takes longer than an HMAC


def list_public_keys(source: Source) -> "list[PublicKey]":
    """Return the keys of a source; raise InvalidSettings if a file was replaced by something else."""
    try:
        return [key for text in source.public_keys for key in read_public_keys(text.read())]
    except ValueError as error:
        raise InvalidSettings([Fault(f"sources.{source.name}.public_key", str(error))]) from None


def is_signed_by_key(source: Source, contents: Iterable[bytes], signatures: Sequence[bytes]) -> bool:
    """Return whether one of the signatures is one of the source's keys over one of the contents."""
    keys, given = list_public_keys(source), list(dict.fromkeys(signatures))[:MAX_SIGNATURES]
    return any(
        _is_right(key, signature, content, source.algorithm)
        for content in contents
        for signature in given
        for key in keys
    )


def _as_der(signature: bytes, size: int) -> bytes:
    """Return an ECDSA signature as DER, also of one that is its two numbers, as browsers and JOSE have it."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if len(signature) != 2 * size:
        return signature
    return encode_dss_signature(*(int.from_bytes(half) for half in (signature[:size], signature[size:])))


def _is_right(key: "PublicKey", signature: bytes, content: bytes, algorithm: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    digests = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}  # noqa: S303
    digest = digests[algorithm]
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, content)
        elif isinstance(key, EllipticCurvePublicKey):
            key.verify(_as_der(signature, (key.key_size + 7) // 8), content, ECDSA(digest))
        else:
            key.verify(signature, content, PKCS1v15(), digest)
    except InvalidSignature:
        return False
    return True
