"""Certificates for servers of tests, each its own authority, valid when a test wants it."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def make_certificate(host: str, *, valid_days: tuple[int, int]) -> bytes:
    """Return a certificate for the host, valid from one day to another as counted from now, and its key."""
    key, now = generate_private_key(SECP256R1()), datetime.now(UTC)
    first, last = (now + timedelta(days) for days in valid_days)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    unsigned = x509.CertificateBuilder(name, name, key.public_key()).serial_number(
        x509.random_serial_number()
    )
    unsigned = unsigned.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    signed = unsigned.not_valid_before(first).not_valid_after(last).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return signed.public_bytes(Encoding.PEM) + private
