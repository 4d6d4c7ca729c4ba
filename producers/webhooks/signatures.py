"""Signatures as senders write them: hex or base64, one or several, over a content with a time. Pure."""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from producers.errors import RefusalReason, Unauthorized
from worker.config import Source
from worker.config.written_bytes import decode_bytes
from worker.contract.instant import SECOND, read_instant

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
