"""JSON Web Tokens by which senders prove themselves: their signature, their time and what they claim. Pure.

So are signatures written as tokens without their content, which stands beside them.

The settings say by what a token is signed: a secret or the kind of a public key. Its own header can only
agree: a token of algorithm `none`, or an HMAC by a key that everybody knows, is signed by nobody.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from producers.webhooks.signatures import (
    MAX_SIGNATURES,
    TOLERANCE,
    WebhookDelivery,
    list_public_keys,
    read_keys,
    refusal,
)
from worker.config import Source
from worker.config.kinds import BODY_SHA256, URL_SHA256
from worker.config.written_bytes import decode_bytes

if TYPE_CHECKING:
    from jwt import PyJWS

    from worker.config.public_keys import PublicKey

TOKEN: Final = re.compile(r"e[wy][\w-]+\.[\w-]*\.[\w-]+={0,2}", re.ASCII)
DETACHED: Final = re.compile(r"e[wy][\w-]+\.\.[\w-]+={0,2}", re.ASCII)
MAX_TOKEN: Final = 2**17  # characters, of which each is looked at before its signature
TIMES: Final = ("exp", "nbf", "iat")
HMACS: Final = ("HS256", "HS384", "HS512")
CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
RSAS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


def check_token(
    source: Source, text: str, delivery: WebhookDelivery, now: float, *, is_timed: bool = False
) -> None:
    """Raise Unauthorized unless a token is signed for this source, in force, and claims what it must.

    One that is timed otherwise need not say itself how long it is in force.
    """
    token = text.rpartition(" ")[2]  # behind `Bearer`, or alone
    if len(token) > MAX_TOKEN or not TOKEN.fullmatch(token):
        raise refusal("what stands in place of a token (JWT) is none")
    _check_signature(source, token)
    claims = _read_claims(token)
    if not is_timed or not claims.keys().isdisjoint(TIMES):
        _check_times(source, claims, now)
    is_address_all = not delivery.body and URL_SHA256 in source.claims.values()
    for name, expected in source.claims.items():
        if is_address_all and expected == BODY_SHA256 and name not in claims:
            continue  # Bird's says nothing of a body that is empty
        if not _is_claimed(claims.get(name), expected, delivery):
            raise refusal(f"the token does not claim the {name} that the settings expect")


@cache
def _load_library() -> "PyJWS":
    from jwt import PyJWS  # slow to import, and few have a source that needs it

    return PyJWS()


def check_detached(source: Source, texts: Sequence[str], contents: Sequence[bytes]) -> None:
    """Raise Unauthorized unless one of the texts is a JWS without its content, of one of the contents.

    Its header says whether the content was signed as it is or in base64 (RFC 7797).
    """
    for text in texts[:MAX_SIGNATURES]:
        if len(text) > MAX_TOKEN or not DETACHED.fullmatch(text):
            continue
        header, (head, _, written) = _read_header(text), text.split(".")
        if header.get("crit", ["b64"]) != ["b64"]:
            raise refusal("the signature (JWS) wants something to be understood that is not, by `crit`")
        as_it_is = header.get("b64") is False
        if not as_it_is and str(header.get("typ")).upper().endswith("JWT"):
            continue  # a token for something else, whose claims stand as the body
        for content in contents:
            payload = content if as_it_is else urlsafe_b64encode(content).rstrip(b"=")
            if _is_signed(source, header, f"{head}.".encode() + payload, written):
                return
    raise refusal("the signature does not match")


def _check_signature(source: Source, token: str) -> None:
    content, _, written = token.rpartition(".")
    if not _is_signed(source, _read_header(token), content.encode(), written):
        raise refusal("the token is signed by none of the keys of this source")


def _read_header(token: str) -> Mapping[str, object]:
    from jwt.exceptions import PyJWTError

    try:
        header: Mapping[str, object] = _load_library().get_unverified_header(token)
    except PyJWTError:
        raise refusal("the token (JWT) cannot be read") from None
    return header


def _is_signed(source: Source, header: Mapping[str, object], content: bytes, written: str) -> bool:
    from jwt.exceptions import PyJWTError

    library, signature = _load_library(), decode_bytes(written, "base64") or b""
    try:
        for algorithm, key in _list_ways(source):
            if algorithm != header.get("alg"):
                continue
            way = library.get_algorithm_by_name(algorithm)
            if way.verify(content, way.prepare_key(key), signature):
                return True
    except PyJWTError:
        raise refusal("the token (JWT) cannot be read") from None
    return False


def _list_ways(source: Source) -> Iterator[tuple[str, Any]]:
    """Yield each algorithm by which a token may be signed, with its key."""
    for secret in source.secrets:
        yield from ((name, key) for key in read_keys(secret.reveal()) for name in HMACS)
    for key in list_public_keys(source):
        yield from ((name, key) for name in _algorithms_of(key))


def _algorithms_of(key: "PublicKey") -> tuple[str, ...]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(key, RSAPublicKey):
        return RSAS
    return (CURVES[key.curve.name],) if isinstance(key, EllipticCurvePublicKey) else ("EdDSA",)


def _read_claims(token: str) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(decode_bytes(token.split(".")[1], "base64") or b"", type=dict[str, Any])
    except (ValueError, RecursionError):  # msgspec's error is a ValueError
        raise refusal("the token (JWT) holds no claims") from None


def _check_times(source: Source, claims: Mapping[str, object], now: float) -> None:
    """Raise Unauthorized unless a token is in force: until its end, or as long as the settings say."""
    times = {name: claims[name] for name in TIMES if claims.get(name) is not None}
    known = {name: at for name, at in times.items() if isinstance(at, int | float) and abs(at) < 1e11}
    if known.keys() != times.keys() or known.keys().isdisjoint(("exp", "iat")):
        raise refusal("the token does not say when it was made or when it ends")
    if max(known.get("nbf", 0.0), known.get("iat", 0.0)) > now + TOLERANCE:
        raise refusal("the token is from the future, by this server's clock", reason="stale")
    ends = known["exp"] + TOLERANCE if "exp" in known else known["iat"] + source.max_age
    if now > ends:
        raise refusal("the token is no longer in force, by this server's clock", reason="stale")


def _is_claimed(claim: object, expected: str, delivery: WebhookDelivery) -> bool:
    if expected in (BODY_SHA256, URL_SHA256):
        content = delivery.body if expected == BODY_SHA256 else delivery.url.encode("latin-1")
        digest = decode_bytes(claim) if isinstance(claim, str) else None
        return hmac.compare_digest(digest or b"", hashlib.sha256(content).digest())
    found = claim if isinstance(claim, list) else [claim]
    return any(_as_text(each) == expected for each in found)


def _as_text(value: object) -> str | None:
    """Return a claim as the settings write it, also a number and `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else None
