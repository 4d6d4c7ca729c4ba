"""Signatures by a private key: published vectors pass, what anybody else signs does not; nothing fails."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from producers.errors import Unauthorized
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import verify
from tests.support.sender_keys import (
    PrivateKey,
    as_base64,
    as_certificate,
    as_der,
    as_jwks,
    as_okp,
    as_pem,
    make_ed25519,
    make_elliptic,
    make_rsa,
    name_case,
    sign,
)
from worker.config import Rule, Source
from worker.config.public_keys import is_public_key, read_public_keys
from worker.config.secret import NamedText
from worker.errors import InvalidSettings

RULE = Rule(action="'create'", relationtype="'t'", parentid="p", childid="c")
NOW = 1_614_265_330
BODY = b'{"estate": 501}'
ED25519, ELLIPTIC, RSA = make_ed25519("sender"), make_elliptic("sender"), make_rsa("sender")
BARE = ED25519.public_key().public_bytes_raw()
SPKI = PublicFormat.SubjectPublicKeyInfo
# RFC 8032, test 3, and what SendGrid's own libraries are tried by.
RFC_KEY = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
RFC_SIGNATURE = (
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMMsTbhdbcwHBcepxo7yAQGhHPTnlvFYPAZ"
    "FceEu/1FwCM/QmGUhA=="
)
SENDGRID_SIGNATURE = (
    "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH2j/0="
)
# What sipgate's own library is tried by, with the key that sipgate signs by.
SIPGATE_KEY = (
    "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAvFdlnqRfO5TmqzjtsFVCqPz+oW+poi3lXQFvMJJMEAtlU4MbX+yuIkgnC+Qt"
    "3AQWIK+oWSEQiybg+p39wEMl16PZxEzf9gONQvTg1XhyHnwqYUFQj/AoxPKGYC3jmdjZ224SrESiTN3CdxoOc3vkcXiQstYE7SxnksPt"
    "zfk0aIOkicim5/tAP9izNQ18/zmX3ChjK2k72gf5dDlq+qZ8pRiHAPZ64TySH6cLQDhaoh6Nbq8FEG3usXXPClbUMh2DZaTMPafpd+LN"
    "uTngJ/y+KoZasVuFfXAeBqGA6l5d4Uedfr99Z6qjwDrJ8sU4z2Do9bJrbuqP+mOXEebhSI1Kvi8trEfrIt8hnDBGsBaB9NEO3kYxvDT2"
    "/PhC9fNYFocjEpZNd7/mUqTJDYlpa4UCNDQaU+ATdXG8/P5sGAegks6MQTu+qe9XTO0CV48eswDkz6g3UbLOwmrJK59SjD3JyAZ52slu"
    "wyDKRWw/PPTt8BTQLjvkdbiLUlc4ehJ4b1X7D7diYWHDPeFL47cAvaXhdXVrZDeBJYibvD1jRx4ES0KlfhwzNXBYUoM/Movg9zMM2Pzy"
    "HHKS//xIjwUC/FJ6/6eykno0Hy2B1ev6s3hdY6VkN2zd7Wf+EK4DxRliwsg1U99szFE3ewLfexF+Uag5M+TfPtOUumI/NHMTvsRW9+EC"
    "AwEAAQ=="
)
SIPGATE_SIGNATURE = (
    "hlY7r9Vad0NP/7xJxf+vcDqjWaGWHOcIrj+rcP5aqQQcHtbSLsElp2kRNRPBL5unWbq6bExVPZB49HHM+Y/fWSVL19q7KSJhYPHfikcM"
    "E0r0mCYB4S/VnJwnIvpiqz6s7Dpnk3wDCy65B3WQLwBVWA9oh6ojNM/g+87YnoMTKRx1KoFqosKNfBp1c1I8XjXusGOW/VlGnMb6wHhU"
    "Vdwi9K7FfUgxj2pnV+M1Xv9rYs6RAi4V1OcUPqdT5geHsxWa09sk+AEHSUm1EFnAvx7PhIkugpNwST7yPKHf0+iyei4qUQCBZtfQVOI4"
    "mLZTRfQuyVo3YuJfvHaNPYY34/1ZCZGCKeu+HS6WHs1vGUyKxSi8v4JJqog2VOlWruf8pMGg+syuAFwuxiCnWsSXgaaUfe9JrBAFjBxU"
    "mNP9DzR1bbkwxkJnthacu7jALXjGsubjSSSl955QgenV/ZpODHgWDPg0fe6qGILtk+kXLjyfSsoR/qgzE5W5OAyZq8W64h01KAt9Q283"
    "N7/2nogy6keiIWL3qjPolWnrchSP7iJUatM2YiTcpkNKnJ70UE05cdw3swuNe7zqD51MdOX3rAioEOFgOIFMSrxMVX+V4XK7sa5o43sm"
    "N8lHoa+0AogQMuIrC7k2axdRbulSSNfyqVAZIT4qS0cItiv3aPXsdDKkkA0="
)
SIPGATE_BODY = (
    b"callId=&direction=in&event=newCall&from=4912354678&fullUserId%5B%5D%5B0%5D=123456789&originalCallId="
    b"&to=49999999&user%5B%5D%5B0%5D=TestUser&userId%5B%5D%5B0%5D=123456789&xcid="
)
SENDGRID_BODY = b'{"category":"example_payload","event":"test_event","message_id":"message_id"}'


def make_source(*keys: str, **more: object) -> Source:
    public = tuple(map(NamedText, keys))
    made = Source(name="hook", account="acme", scheme="public-key", rules=(RULE,), public_keys=public)
    return replace(made, **{"header": "X-Sign", **more})  # type: ignore[arg-type]


def send(signature: str, body: bytes = BODY, **headers: str) -> WebhookDelivery:
    return WebhookDelivery("https://here/webhooks/hook", {"x-sign": signature, **headers}, body)


def refused(source: Source, delivery: WebhookDelivery, *, now: float = NOW) -> Unauthorized:
    with pytest.raises(Unauthorized) as raised:
        verify(source, delivery, now=now)
    return raised.value


def test_published_vectors_pass_and_one_changed_byte_does_not() -> None:
    source = make_source(RFC_KEY)
    assert verify(source, send(RFC_SIGNATURE, b"\xaf\x82"), now=NOW)
    refused(source, send(RFC_SIGNATURE, b"\xaf\x83"))
    gate = make_source(SIPGATE_KEY)
    assert verify(gate, send(SIPGATE_SIGNATURE, SIPGATE_BODY), now=NOW)
    refused(gate, send(SIPGATE_SIGNATURE, SIPGATE_BODY.replace(b"TestUser", b"NextUser")))
    grid = make_source(SENDGRID_KEY, timestamp_header="X-Time", signed="{timestamp}{body}")
    vector = send(SENDGRID_SIGNATURE, SENDGRID_BODY, **{"x-time": "1588788367"})
    assert verify(grid, vector, now=1_588_788_367)
    refused(grid, vector._replace(body=SENDGRID_BODY + b"\n"), now=1_588_788_367)
    assert refused(grid, vector, now=1_588_788_367 + 301).reason == "stale"


# Keys of a set that its sender has for something else, or that nobody knew when this was written.
STRANGERS = (
    '{"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"}',
    '{"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}',
    '{"kty": "RSA", "alg": "RSA-OAEP", "n": "AAAA", "e": "AQAB"}',
    '{"kty": "RSA", "n": "AAAA", "e": "AQAB"}',
)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        (ED25519, BARE.hex()),
        (ED25519, as_base64(ED25519)),
        (ED25519, urlsafe_b64encode(BARE).decode().rstrip("=")),
        (ED25519, f"whpk_{as_base64(ED25519)}"),
        (ED25519, as_okp(ED25519)),
        *((key, as_pem(key)) for key in (ED25519, ELLIPTIC, RSA)),
        *((key, as_der(key)) for key in (ED25519, ELLIPTIC, RSA)),
        (RSA, as_pem(RSA).replace("\n", r"\n")),
        (RSA, as_pem(ED25519) + as_pem(RSA)),
        (RSA, as_certificate(RSA)),
        (RSA, as_jwks(ELLIPTIC, RSA)),
        *((RSA, as_jwks(RSA).replace("[{", f"[{stranger}, {{", 1)) for stranger in STRANGERS),
        (RSA, RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()),
    ],
    ids=name_case,
)
def test_a_key_is_read_as_its_sender_publishes_it(key: PrivateKey, written: str) -> None:
    source = make_source(written)
    for signature in (sign(key, BODY).hex(), b64encode(sign(key, BODY)).decode()):
        assert verify(source, send(f"sha256={signature}"), now=NOW)
    refused(source, send(sign(key, BODY + b" ").hex()))


# Every Ed25519 point of small order, canonical or not: some signatures by them are right for any message.
SMALL_ORDER = (
    "00" * 32,
    "00" * 31 + "80",
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 31,
    "ee" + "ff" * 30 + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    f"whpk_{b64encode(bytes(32)).decode()}",
)


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("", "expected a public key"),
        ("no key at all", "expected a public key"),
        ("00" * 31, "expected a public key"),
        *((written, "everybody can sign") for written in SMALL_ORDER),
        ("{", "no JSON"),
        ('{"keys": {}}', "expected a public key"),
        ('{"keys": []}', "holds 0 keys"),
        ('{"keys": [{"kty": "RSA", "use": "enc"}]}', "holds 0 keys"),
        ('{"kty": "oct", "k": "c2VjcmV0"}', "is a secret"),
        ('{"kty": "EC", "crv": "P-256", "x": 4711}', "expected a public key"),
        (f'{{"keys": [{", ".join(STRANGERS)}]}}', "holds 0 keys"),
        (as_jwks(RSA).replace("[{", '[{"kty": "oct", "k": "c2VjcmV0"}, {', 1), "is a secret"),
        (as_jwks(RSA).replace("[{", '[{"kty": "EC", "d": "AAAA"}, {', 1), "is a private key"),
        ('{"keys": ' * 100_000, "expected a public key"),
        ("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", "expected a public key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "expected a public key"),
        (
            RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "is a private key",
        ),
        ('{"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "d": "AAAA"}', "is a private key"),
        (as_pem(rsa.generate_private_key(65537, 1024)), "is RSA of 1024 bits"),
        (as_pem(ec.generate_private_key(ec.SECP256K1())), "is on the curve secp256k1"),
        (
            x25519.X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, SPKI).decode(),
            "is a key of another kind",
        ),
        (
            dsa.generate_private_key(1024).public_key().public_bytes(Encoding.PEM, SPKI).decode(),
            "is a key of another kind",
        ),
        (as_pem(ELLIPTIC) * 65, "holds 65 keys"),
    ],
    ids=name_case,
)
def test_what_is_no_key_to_trust_is_refused_and_not_repeated(written: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as raised:
        read_public_keys(written)
    assert len(str(raised.value)) < 120
    if fault != "holds 65 keys":
        assert not is_public_key(written)
    with pytest.raises(InvalidSettings):  # a file that was replaced: time and its owner cure that
        verify(make_source(written or "env:NOWHERE"), send("00" * 64), now=NOW)


@pytest.mark.parametrize("key", [ED25519, ELLIPTIC, RSA], ids=["Ed25519", "ECDSA", "RSA"])
@given(wrong=st.binary(max_size=300) | st.text(max_size=90).map(lambda text: text.encode("utf-8", "replace")))
def test_no_wrong_signature_is_taken_or_fails(key: PrivateKey, wrong: bytes) -> None:
    source = make_source(as_pem(key))
    for text in (wrong.hex(), b64encode(wrong).decode(), wrong.decode("latin-1")):
        refused(source, send(text))


def test_the_key_says_how_it_signs_and_the_delivery_cannot() -> None:
    weak = sign(RSA, BODY, "sha1").hex()
    refused(make_source(as_pem(RSA)), send(f"sha1={weak}"))
    assert verify(make_source(as_pem(RSA), algorithm="sha1"), send(f"sha1={weak}"), now=NOW)
    strong = sign(RSA, BODY, "sha512").hex()
    assert verify(make_source(as_pem(RSA), algorithm="sha512"), send(strong), now=NOW)
    refused(make_source(as_pem(RSA)), send(strong))
    refused(make_source(as_pem(ELLIPTIC)), send(sign(RSA, BODY).hex()))


def test_any_of_several_keys_passes_and_a_key_is_read_again_when_its_file_is_replaced(
    tmp_path: Path,
) -> None:
    (tmp_path / "key.pem").write_text(as_pem(RSA))
    of_file = NamedText("file:key.pem", folder=tmp_path)
    source = replace(make_source(as_pem(ELLIPTIC)), public_keys=(NamedText(as_pem(ELLIPTIC)), of_file))
    for key in (ELLIPTIC, RSA):
        assert verify(source, send(sign(key, BODY).hex()), now=NOW)
    refused(source, send(sign(ED25519, BODY).hex()))
    (tmp_path / "new.pem").write_text(as_pem(ED25519))
    (tmp_path / "new.pem").rename(tmp_path / "key.pem")
    assert verify(source, send(sign(ED25519, BODY).hex()), now=NOW)
    refused(source, send(sign(RSA, BODY).hex()))


def test_of_many_signatures_only_the_first_are_tried() -> None:
    source, right = make_source(as_pem(ED25519)), sign(ED25519, BODY).hex()
    wrong = [f"{number:0128x}" for number in range(8)]
    assert verify(source, send(",".join([*wrong[1:], right])), now=NOW)
    refused(source, send(",".join([*wrong, right])))


@pytest.mark.parametrize("family", ["webhook", "svix"], ids=lambda family: f"headers of {family}")
def test_standard_webhooks_by_a_private_key(family: str) -> None:
    source = replace(make_source(f"whpk_{b64encode(BARE).decode()}"), scheme="standard-webhooks", header="")

    def deliver(signed: str, change: Callable[[str], str] = str) -> WebhookDelivery:
        signature = b64encode(sign(ED25519, signed.encode())).decode()
        written = f"v1,{signature} v1a,AAAA {change(f'v1a,{signature}')}"
        names = {"id": "msg_1", "timestamp": str(NOW), "signature": written}
        headers = {f"{family}-{name}": value for name, value in names.items()}
        return WebhookDelivery("https://here", headers, BODY)

    content = f"msg_1.{NOW}.{BODY.decode()}"
    assert verify(source, deliver(content), now=NOW) == "msg_1"
    assert refused(source, deliver(content), now=NOW + 301).reason == "stale"
    refused(source, deliver(content.replace("msg_1", "msg_2")))
    refused(source, deliver(content, lambda text: text.removeprefix("v1a,")))
    refused(source, deliver(content, lambda text: text.replace("v1a,", "v1,")))  # no HMAC by a public key
