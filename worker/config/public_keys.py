"""Public keys as senders publish them: PEM, certificates, DER in base64, bare bytes, JWK and sets of them.

`cryptography` is loaded once somebody has such a key.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from worker.config.written_bytes import decode_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey: TypeAlias = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]*-----END \1-----")
WHPK: Final = "whpk_"  # of Standard Webhooks
BARE_LENGTH: Final = 32  # bytes of a key that says nothing of its kind: Ed25519
CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
RSA_SIZES: Final = range(2048, 8193)  # bits: a shorter one is none, a longer one takes too long
# The coordinate y of all points of small order: who knows no secret can sign by them, as by a key of zeros.
PRIME: Final = 2**255 - 19
_OF_EIGHT: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL_ORDER: Final = frozenset((0, 1, PRIME - 1, _OF_EIGHT, PRIME - _OF_EIGHT))
MAX_KEYS: Final = 64  # all of them are tried
EXPECTED: Final = "expected a public key: PEM, a certificate, base64, hex or JWK"
PRIVATE: Final = "is a private key, which only its sender may have; expected the public one"


@lru_cache(maxsize=128)
def read_public_keys(text: str) -> tuple["PublicKey", ...]:
    """Return the keys that a text holds, at least one.

    Raises ValueError for what is none, or none that can be trusted. Nothing of the text is repeated: it may
    be a private key.
    """
    text = text.strip().replace("\\n", "\n")  # as PEM stands in variables of the environment
    try:
        found = [_expect_good(key) for key in _find_keys(text)]
    except RecursionError:
        raise ValueError(EXPECTED) from None
    if not 0 < len(found) <= MAX_KEYS:
        raise ValueError(f"holds {len(found)} keys; expected 1 to {MAX_KEYS}")
    return tuple(found)


def is_public_key(text: str) -> bool:
    """Return whether a text is a public key that cannot be taken for anything else."""
    try:
        read_public_keys(text)
        return "{" in text or len(_decode(text)) != BARE_LENGTH
    except ValueError:
        return False


def _find_keys(text: str) -> Iterator[object]:
    if "PRIVATE KEY-----" in text:
        raise ValueError(PRIVATE)
    if "-----BEGIN" in text:
        yield from (_read_pem(match[0], match[1]) for match in PEM.finditer(text))
    elif text.startswith("{"):
        yield from _read_jwks(text)
    else:
        yield _read_bytes(_decode(text.removeprefix(WHPK)))


def _read_pem(text: str, label: str) -> object:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    try:
        if label == "CERTIFICATE":
            return load_pem_x509_certificate(text.encode()).public_key()
        return load_pem_public_key(text.encode())
    except Exception as error:
        raise _unreadable(error) from None


def _read_bytes(content: bytes) -> object:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        if len(content) == BARE_LENGTH:
            return Ed25519PublicKey.from_public_bytes(content)
        return load_der_public_key(content)
    except Exception as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> ValueError:
    """Return the fault of what the library refuses, by ValueError or errors of its own."""
    return ValueError(f"{EXPECTED} ({type(error).__name__})")


def _decode(text: str) -> bytes:
    """Return the bytes that a text writes as hex or base64, in lines or in one."""
    content = decode_bytes("".join(text.split()))
    if content is None:
        raise ValueError(EXPECTED)
    return content


def _read_jwks(text: str) -> Iterator[object]:
    """Yield the keys of a JWK or of a set of them, without those of a set that are for something else.

    A sender may add a key of a kind that is not known here, and goes on to sign by the others.
    """
    try:
        content = json.loads(text)
    except ValueError:
        raise ValueError(f"{EXPECTED}; this is no JSON") from None
    listed = content.get("keys") if "keys" in content else [content]
    if not isinstance(listed, list):
        raise ValueError(EXPECTED)
    entries = [each for each in listed if isinstance(each, dict) and each.get("use", "sig") == "sig"]
    for entry in entries:
        _expect_public(entry)
        try:
            yield _expect_good(_read_jwk(entry))
        except ValueError:
            if len(entries) == 1:  # it says why it is none
                raise


def _expect_public(entry: Mapping[str, Any]) -> None:
    if entry.get("kty") == "oct":
        raise ValueError("is a secret (oct), which belongs in `secret`")
    if "d" in entry:
        raise ValueError(PRIVATE)


def _read_jwk(entry: Mapping[str, Any]) -> object:
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    try:
        return PyJWK.from_dict(dict(entry)).key
    except (PyJWTError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise _unreadable(error) from None


def _expect_good(key: object) -> "PublicKey":
    """Return a key that signatures can be checked by; raise ValueError for every other one."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(key, RSAPublicKey):
        if key.key_size not in RSA_SIZES:
            raise ValueError(f"is RSA of {key.key_size} bits; expected {RSA_SIZES[0]} to {RSA_SIZES[-1]}")
        return key
    if isinstance(key, EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            raise ValueError(f"is on the curve {key.curve.name}; expected {', '.join(CURVES.values())}")
        return key
    if isinstance(key, Ed25519PublicKey):
        if int.from_bytes(key.public_bytes_raw(), "little") % 2**255 % PRIME in SMALL_ORDER:
            raise ValueError(
                "is a key by which everybody can sign; expected the one that the sender publishes"
            )
        return key
    raise ValueError(f"is a key of another kind ({type(key).__name__}); expected Ed25519, ECDSA or RSA")
