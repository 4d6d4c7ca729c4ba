"""Signatures by a private key, checked by the public one: Ed25519, ECDSA and RSA. Pure.

The kind of the key says how it signs, never the delivery: what came cannot choose a weaker way.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from worker.config import Source
from worker.config.public_keys import read_public_keys
from worker.errors import Fault, InvalidSettings

if TYPE_CHECKING:
    from worker.config.public_keys import PublicKey

MAX_SIGNATURES: Final = 8  # of one delivery that are tried: each takes longer than an HMAC


def list_public_keys(source: Source) -> "list[PublicKey]":
    """Return the keys of a source; raise InvalidSettings if a file was replaced by something else."""
    try:
        return [key for text in source.public_keys for key in read_public_keys(text.read())]
    except ValueError as error:
        raise InvalidSettings([Fault(f"sources.{source.name}.public_key", str(error))]) from None


def is_signed(source: Source, contents: Iterable[bytes], signatures: Sequence[bytes]) -> bool:
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
