"""Private keys of senders, what they sign, and the public keys as they publish them."""

import json
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from functools import cache

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_elliptic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey
HASHES = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}


@cache
def make_ed25519(_owner: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@cache
def make_elliptic(_owner: str) -> EllipticCurvePrivateKey:
    return generate_elliptic(SECP256R1())


@cache
def make_rsa(_owner: str) -> RSAPrivateKey:
    return generate_rsa(65537, 2048)


def name_case(value: object) -> str:
    """Return the name of a parameter of a test, the same in every process: keys are made anew in each."""
    return value if isinstance(value, str) and len(value) < 40 else "key"


def sign(key: PrivateKey, content: bytes, algorithm: str = "sha256") -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(content)
    if isinstance(key, EllipticCurvePrivateKey):
        return key.sign(content, ECDSA(HASHES[algorithm]))
    return key.sign(content, PKCS1v15(), HASHES[algorithm])


def as_pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def as_der(key: PrivateKey) -> str:
    content = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(content).decode()


def as_base64(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes_raw()).decode()


def as_jwks(*keys: RSAPrivateKey | EllipticCurvePrivateKey) -> str:
    """Return a set as Google publishes it, with a key for something else in it."""
    listed = [{**_as_jwk(key), "use": "sig", "kid": str(number)} for number, key in enumerate(keys)]
    return json.dumps({"keys": [{"kty": "RSA", "use": "enc", "kid": "x"}, *listed]})


def _as_jwk(key: RSAPrivateKey | EllipticCurvePrivateKey) -> dict[str, object]:
    if isinstance(key, RSAPrivateKey):
        return jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)


def as_okp(key: Ed25519PrivateKey) -> str:
    x = urlsafe_b64encode(key.public_key().public_bytes_raw()).decode().rstrip("=")
    return json.dumps({"kty": "OKP", "crv": "Ed25519", "x": x})


def as_certificate(key: RSAPrivateKey) -> str:
    """Return a certificate by the key for itself."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now, unsigned = datetime.now(UTC), x509.CertificateBuilder(name, name, key.public_key())
    unsigned = unsigned.serial_number(x509.random_serial_number())
    unsigned = unsigned.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(365))
    return unsigned.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
