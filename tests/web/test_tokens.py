"""Tokens (JWT) of senders: published ones pass; what nobody signed, is for others or too late does not."""

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.errors import Unauthorized
from producers.webhooks.body import read_body_value
from producers.webhooks.proofs import hide_proofs, still_proves
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import verify
from tests.support.http_front import SECRETS, Front
from tests.support.sender_keys import (
    as_base64,
    as_der,
    as_jwks,
    as_okp,
    as_pem,
    make_ed25519,
    make_elliptic,
    make_rsa,
    name_case,
)
from worker.config import Rule, Secret, Source
from worker.config.secret import NamedText

RULE = Rule(action="'create'", relationtype="'t'", parentid="p", childid="c")
NOW = 1_614_265_330
ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
BODY = b'{"estate": 501}'
SECRET = "canary-secret-of-tokens-0123456789abcdef-0123456789abcdef-0123456789"
CLAIMS: Mapping[str, object] = {"iss": "sender", "aud": "us", "iat": NOW, "exp": NOW + 60}
ED25519, ELLIPTIC, RSA = make_ed25519("sender"), make_elliptic("sender"), make_rsa("sender")
# RFC 7515, appendices A.1 and A.3.
RFC_PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RFC_HS256 = (
    f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{RFC_PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)
RFC_SECRET = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
RFC_ES256 = (
    f"eyJhbGciOiJFUzI1NiJ9.{RFC_PAYLOAD}."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
RFC_JWK = (
    '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
    '"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}'
)

BY_SECRET = Source(name="hook", account="acme", scheme="jwt", secrets=(Secret(SECRET),), rules=(RULE,))


def by_key(*keys: str, **more: object) -> Source:
    made = Source(
        name="hook", account="acme", scheme="jwt", rules=(RULE,), public_keys=tuple(map(NamedText, keys))
    )
    return replace(made, **more)  # type: ignore[arg-type]


def send(token: str, body: bytes = BODY, header: str = "authorization") -> WebhookDelivery:
    return WebhookDelivery("https://here/webhooks/hook", {header: token}, body)


def passes(source: Source, token: str, *, now: float = NOW, body: bytes = BODY) -> bool:
    return bool(verify(source, send(f"Bearer {token}", body), now=now))


def refused(source: Source, token: str, *, now: float = NOW, body: bytes = BODY) -> Unauthorized:
    with pytest.raises(Unauthorized) as raised:
        verify(source, send(f"Bearer {token}", body), now=now)
    assert raised.value.challenge == "Signature"
    return raised.value


def make(claims: Mapping[str, object] = CLAIMS, key: object = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(dict(claims), key, algorithm)  # type: ignore[arg-type]


def part(value: object) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(content).decode().rstrip("=")


def make_by_hand(header: Mapping[str, object], claims: object, key: bytes) -> str:
    """Return a token as an attacker makes it, signed by HMAC."""
    content = f"{part(header)}.{part(claims)}"
    return f"{content}.{part(hmac.digest(key, content.encode(), 'sha256'))}"


def test_published_tokens_pass_until_they_end() -> None:
    for source, token in (
        (replace(BY_SECRET, secrets=(Secret(RFC_SECRET),)), RFC_HS256),
        (by_key(RFC_JWK), RFC_ES256),
    ):
        assert passes(source, token, now=1_300_819_380)
        assert passes(source, token, now=1_300_819_380 + 300)
        assert refused(source, token, now=1_300_819_380 + 301).reason == "stale"
        refused(source, token[:-2] + "AA", now=1_300_819_380)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_secret_signs_in_each_strength(algorithm: str) -> None:
    assert passes(BY_SECRET, make(algorithm=algorithm))
    refused(BY_SECRET, make(key=SECRET[::-1], algorithm=algorithm))


@pytest.mark.parametrize(
    ("key", "public", "algorithm"),
    [
        *((RSA, as_pem(RSA), name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (RSA, as_jwks(make_rsa("other"), ELLIPTIC, RSA), "RS256"),
        (ELLIPTIC, as_der(ELLIPTIC), "ES256"),
        (ELLIPTIC, as_jwks(RSA, ELLIPTIC), "ES256"),
        (ED25519, as_okp(ED25519), "EdDSA"),
        (ED25519, as_base64(ED25519), "EdDSA"),
    ],
    ids=name_case,
)
def test_a_private_key_signs_in_the_ways_of_its_kind(key: object, public: str, algorithm: str) -> None:
    token = make(key=key, algorithm=algorithm)
    assert passes(by_key(public), token)
    refused(by_key(as_pem(make_rsa("other")), as_pem(make_elliptic("other"))), token)
    refused(BY_SECRET, token)


@pytest.mark.parametrize(
    "public", [as_pem(RSA), as_der(RSA), as_jwks(RSA), as_base64(ED25519)], ids=name_case
)
def test_what_everybody_knows_is_no_secret_to_sign_by(public: str) -> None:
    for known in (public, public.strip(), f"{public}\n"):
        token = make_by_hand({"alg": "HS256", "typ": "JWT"}, CLAIMS, known.encode())
        refused(by_key(public), token)
        refused(by_key(public), make_by_hand({"alg": "RS256"}, CLAIMS, known.encode()))


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": "none"},
        {"alg": "None"},
        {"alg": ["HS256"]},
        {"alg": None},
        {"alg": 5},
        {"alg": "ES256K"},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        {"alg": "HS256", "crit": ["unheard-of"], "unheard-of": 1},
        {"alg": "HS256", "kid": {"a": 1}},
        [],
        "alg",
    ],
)
def test_a_header_chooses_nothing(header: Mapping[str, object]) -> None:
    refused(BY_SECRET, make_by_hand(header, CLAIMS, SECRET.encode()))
    refused(by_key(as_pem(RSA)), make_by_hand(header, CLAIMS, b""))


@pytest.mark.parametrize("depth", [2_000, 40_000])
def test_a_header_that_nobody_signed_is_refused_however_deeply_it_is_nested(depth: int) -> None:
    header = b'{"alg":"HS256","x":' + b"[" * depth + b"]" * depth + b"}"
    for source in (BY_SECRET, by_key(as_pem(RSA))):
        refused(source, make_by_hand(header, CLAIMS, b"another secret"))


def test_a_key_that_the_token_brings_is_not_looked_at() -> None:
    stranger = make_rsa("stranger")
    brought = json.loads(as_jwks(stranger))["keys"][1]
    for more in ({"jwk": brought}, {"jku": "http://127.0.0.1:9/keys"}, {"x5u": "http://127.0.0.1:9/a"}):
        refused(by_key(as_pem(RSA)), jwt.encode(dict(CLAIMS), stranger, "RS256", headers=more))


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"exp": NOW - 300}, ""),
        ({"exp": NOW - 301}, "stale"),
        ({"exp": NOW + 60, "iat": NOW - 86_400}, ""),
        ({"iat": NOW - 300}, ""),
        ({"iat": NOW - 301}, "stale"),
        ({"iat": NOW + 300}, ""),
        ({"iat": NOW + 301}, "stale"),
        ({"exp": NOW + 900, "nbf": NOW + 300}, ""),
        ({"exp": NOW + 900, "nbf": NOW + 301}, "stale"),
        ({"exp": NOW + 0.5, "iat": None}, ""),
        ({}, "signature"),
        ({"nbf": NOW}, "signature"),
        ({"exp": True}, "stale"),
        ({"exp": f"{NOW}"}, "signature"),
        ({"exp": NOW + 60, "iat": "soon"}, "signature"),
        ({"exp": 10**400}, "signature"),
        ({"exp": NOW * 1000}, "signature"),
        ({"exp": [NOW]}, "signature"),
        ({"exp": NOW + 60, "nbf": {}}, "signature"),
    ],
    ids=str,
)
def test_a_token_is_good_until_its_end_or_for_a_while_after_it_was_made(
    times: Mapping[str, object], reason: str
) -> None:
    token = make_by_hand({"alg": "HS256"}, times, SECRET.encode())
    if reason:
        assert refused(BY_SECRET, token).reason == reason
    else:
        assert passes(BY_SECRET, token)


def test_a_token_without_an_end_is_good_as_long_as_the_settings_say() -> None:
    token = make({"iat": NOW})
    assert passes(replace(BY_SECRET, max_age=3600.0), token, now=NOW + 3600)
    refused(replace(BY_SECRET, max_age=3600.0), token, now=NOW + 3601)


def test_of_a_token_without_times_the_settings_may_say_where_the_time_is() -> None:
    source = replace(BY_SECRET, signature_in="body", timestamp_in="body:at")

    def deliver(claims: Mapping[str, object]) -> WebhookDelivery:
        return WebhookDelivery("", {}, make_by_hand({"alg": "HS256"}, claims, SECRET.encode()).encode())

    assert verify(source, deliver({"at": NOW * 1000}), now=NOW + 300)
    for claims in ({"at": NOW * 1000 - 2000}, {"at": "soon"}, {}, {"at": NOW, "exp": NOW - 301}):
        with pytest.raises(Unauthorized):
            verify(source, deliver(claims), now=NOW + 300 if claims.get("at") != NOW else NOW)
    with pytest.raises(Unauthorized):
        verify(replace(source, timestamp_in=""), deliver({"at": NOW * 1000}), now=NOW)


@pytest.mark.parametrize(
    ("expected", "claimed", "fits"),
    [
        ({"aud": "us"}, {"aud": "us"}, True),
        ({"aud": "us"}, {"aud": ["them", "us"]}, True),
        ({"aud": "us"}, {"aud": ["them"]}, False),
        ({"aud": "us"}, {"aud": "us too"}, False),
        ({"aud": "us"}, {}, False),
        ({"aud": "us"}, {"aud": {"us": "us"}}, False),
        ({"aud": "us"}, {"aud": None}, False),
        ({"iss": "a", "aud": "us"}, {"iss": "b", "aud": "us"}, False),
        ({"accountId": "1825529"}, {"accountId": 1_825_529}, True),
        ({"email_verified": "true"}, {"email_verified": True}, True),
        ({"email_verified": "true"}, {"email_verified": False}, False),
        ({"email_verified": "True"}, {"email_verified": True}, False),
        ({"hash": "{body_sha256}"}, {"hash": hashlib.sha256(BODY).hexdigest()}, True),
        ({"hash": "{body_sha256}"}, {"hash": b64encode(hashlib.sha256(BODY).digest()).decode()}, True),
        ({"hash": "{body_sha256}"}, {"hash": hashlib.sha256(BODY + b" ").hexdigest()}, False),
        ({"hash": "{body_sha256}"}, {"hash": "{body_sha256}"}, False),
        ({"hash": "{body_sha256}"}, {"hash": ""}, False),
        ({"hash": "{body_sha256}"}, {"hash": 5}, False),
        ({"hash": "{body_sha256}"}, {}, False),
    ],
    ids=str,
)
def test_a_token_claims_what_the_settings_expect(
    expected: Mapping[str, str], claimed: Mapping[str, object], fits: bool
) -> None:
    source = replace(BY_SECRET, claims=expected)
    token = make_by_hand({"alg": "HS256"}, {"exp": NOW + 60, **claimed}, SECRET.encode())
    if fits:
        assert passes(source, token)
    else:
        assert "does not claim" in str(refused(source, token))


def by_jws(**more: object) -> Source:
    made = replace(BY_SECRET, scheme="hmac", header="X-JWS", encoding="jws", secrets=(Secret(RFC_SECRET),))
    return replace(made, **more)  # type: ignore[arg-type]


RFC_7797 = (
    "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19..A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY"
)
RFC_7797_IN_BASE64 = "eyJhbGciOiJIUzI1NiJ9..5mvfOroL-g7HyqJoozehmsaqmvTYGEq5jTI1gVvoEoQ"


@pytest.mark.parametrize("signature", [RFC_7797, RFC_7797_IN_BASE64])
def test_a_published_signature_without_its_content_is_of_the_body(signature: str) -> None:
    assert verify(by_jws(), send(signature, b"$.02", "x-jws"), now=NOW)
    head, _, tail = signature.split(".")
    for text in (f"{head}.JC4wMg.{tail}", f"{head}.{tail}", f"{head}..", "..", f"{head}..{tail[:-2]}"):
        with pytest.raises(Unauthorized):
            verify(by_jws(), send(text, b"$.02", "x-jws"), now=NOW)
    for source, body in ((by_jws(), b"$.03"), (by_jws(secrets=(Secret(SECRET),)), b"$.02")):
        with pytest.raises(Unauthorized):
            verify(source, send(signature, body, "x-jws"), now=NOW)


@pytest.mark.parametrize(
    ("key", "public", "algorithm"),
    [
        (RSA, as_jwks(RSA), "RS256"),
        (RSA, as_pem(RSA), "PS512"),
        (ELLIPTIC, as_pem(ELLIPTIC), "ES256"),
        (ED25519, as_okp(ED25519), "EdDSA"),
    ],
    ids=name_case,
)
def test_a_signature_without_its_content_is_checked_by_the_public_key(
    key: object, public: str, algorithm: str
) -> None:
    source = by_jws(
        scheme="public-key", secrets=(), public_keys=(NamedText(public),), signed="POST /a\n{body}"
    )
    signature = jwt.api_jws.encode(
        b"POST /a\n" + BODY, key, algorithm, {"b64": False, "crit": ["b64"]}, is_payload_detached=True
    )
    assert verify(source, send(signature, header="x-jws"), now=NOW)
    for changed in (
        send(signature, BODY + b" ", "x-jws"),
        send(signature.replace("..", ".e30."), BODY, "x-jws"),
    ):
        with pytest.raises(Unauthorized):
            verify(source, changed, now=NOW)


@pytest.mark.parametrize(
    ("header", "is_taken"),
    [
        ({"alg": "HS256"}, True),
        ({"alg": "HS256", "typ": "JOSE"}, True),
        ({"alg": "HS256", "typ": "JWT"}, False),  # a token, turned into a message
        ({"alg": "HS256", "typ": "at+jwt"}, False),
        ({"alg": "HS256", "crit": ["exp"]}, False),
        ({"alg": "HS256", "crit": ["b64", "exp"]}, False),
        ({"alg": "none"}, False),
        ({"alg": "RS256"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_signature_without_its_content_is_no_token_and_chooses_nothing(
    header: Mapping[str, object], is_taken: bool
) -> None:
    head, _, tail = make_by_hand(header, BODY, SECRET.encode()).split(".")
    source, delivery = by_jws(secrets=(Secret(SECRET),)), send(f"{head}..{tail}", BODY, "x-jws")
    if is_taken:
        assert verify(source, delivery, now=NOW)
    else:
        with pytest.raises(Unauthorized):
            verify(source, delivery, now=NOW)


def test_a_token_without_the_hash_of_an_empty_body_is_good_for_its_address_alone() -> None:
    claims = {"url": "{url_sha256}", "body": "{body_sha256}"}
    source = replace(BY_SECRET, claims=claims, url="https://us.example/webhooks/a")
    url = b"https://us.example/webhooks/a?id=1&status=delivered"
    token = make_by_hand(
        {"alg": "HS256"}, {"exp": NOW + 60, "url": hashlib.sha256(url).hexdigest()}, SECRET.encode()
    )
    headers = {"authorization": f"Bearer {token}"}
    right = WebhookDelivery("http://10.0.0.7/webhooks/a?id=1&status=delivered", headers, b"", "GET")
    assert verify(source, right, now=NOW)
    for other in (right._replace(url=right.url.replace("id=1", "id=2")), right._replace(body=BODY)):
        with pytest.raises(Unauthorized):
            verify(source, other, now=NOW)
    with pytest.raises(Unauthorized):
        verify(replace(source, claims={"body": "{body_sha256}"}), right, now=NOW)


@pytest.mark.parametrize("claims", [b"", b"[]", b"5", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_claims_nothing_is_refused(claims: bytes) -> None:
    refused(BY_SECRET, make_by_hand({"alg": "HS256"}, claims, SECRET.encode()))


@given(st.text(max_size=60) | st.integers(0, 400).map(lambda at: RFC_ES256[:at] + "~" + RFC_ES256[at + 1 :]))
def test_what_is_no_token_is_refused(text: str) -> None:
    for source in (BY_SECRET, by_key(RFC_JWK)):
        for written in (text, f"eyJ{text}", f"eyJhbGciOiJFUzI1NiJ9.{text}.{text}"):
            with pytest.raises(Unauthorized):
                verify(source, send(written), now=1_300_819_380)


def test_a_token_that_takes_too_long_to_read_is_none() -> None:
    assert "is none" in str(refused(BY_SECRET, make({**CLAIMS, "x": "y" * 2**17})))


def test_a_token_stands_where_the_settings_say() -> None:
    token = make()
    for written in (token, f"Bearer {token}", f"bearer {token}", f"JWT {token}"):
        assert verify(BY_SECRET, send(written), now=NOW)
    named = replace(BY_SECRET, header="X-Token")
    assert verify(named, send(token, header="x-token"), now=NOW)
    with pytest.raises(Unauthorized) as raised:
        verify(named, send(token), now=NOW)
    assert raised.value.reason == "no_proof"
    field = json.dumps({"auth": {"jwt": token}}).encode()
    assert verify(replace(BY_SECRET, signature_in="body:auth.jwt"), WebhookDelivery("", {}, field), now=NOW)


@pytest.mark.parametrize("header", [b'{"alg":"HS256"}', b'{ "alg": "HS256" }', b'{\n\t"alg": "HS256"\n}'])
def test_a_header_is_written_as_its_sender_likes(header: bytes) -> None:
    content = f"{part(header)}.{part(CLAIMS)}"
    token = f"{content}.{part(hmac.digest(SECRET.encode(), content.encode(), 'sha256'))}"
    assert passes(BY_SECRET, token)
    assert read_body_value(WebhookDelivery("", {}, token.encode())) == CLAIMS


@pytest.mark.parametrize("ends", ["", "\n", "\r\n"])
def test_of_a_token_that_is_the_body_the_claims_are_read_and_kept_and_no_signature(
    ends: str,
) -> None:
    source = replace(BY_SECRET, signature_in="body")
    token = make({**CLAIMS, "data": {"estate": 501, "note": "für Ada"}})
    delivery = WebhookDelivery("https://here/webhooks/hook", {}, f"{token}{ends}".encode())
    assert verify(source, delivery, now=NOW)
    expected = {**CLAIMS, "data": {"estate": 501, "note": "für Ada"}}
    assert read_body_value(delivery) == expected
    kept = hide_proofs(source, delivery)
    assert token.rpartition(".")[2].encode() not in kept.body
    assert read_body_value(kept) == expected
    assert still_proves(source, delivery)
    assert not still_proves(source, kept)
    with pytest.raises(Unauthorized):
        verify(source, kept, now=NOW)


def test_a_token_that_is_the_body_is_one_message_however_its_signature_is_written() -> None:
    content, _, signature = jwt.encode(dict(CLAIMS), ELLIPTIC, "ES256").rpartition(".")
    raw = urlsafe_b64decode(f"{signature}==")
    other_half = ORDER_OF_P256 - int.from_bytes(raw[32:], "big")  # of ECDSA, good as well
    mirrored = part(raw[:32] + other_half.to_bytes(32, "big"))
    written = (signature, f"{signature}==", f"{signature}\n", mirrored)
    source = replace(by_key(as_pem(ELLIPTIC)), signature_in="body")

    def verify_body(text: str) -> str:
        return verify(source, WebhookDelivery("https://here/webhooks/hook", {}, text.encode()), now=NOW)

    assert len({verify_body(f"{content}.{each}") for each in written}) == 1
    assert verify_body(jwt.encode({**CLAIMS, "jti": "2"}, ELLIPTIC, "ES256")) != verify_body(
        f"{content}.{signature}"
    )


@pytest.mark.parametrize("body", [b"eyJh.a.b", b"eyJh.aaaaa.***", b"ew.-.-"])
@pytest.mark.parametrize("proved", [True, False])
def test_a_body_that_only_looks_like_a_token_is_refused_or_kept_like_any_other(
    front: Front, body: bytes, proved: bool
) -> None:
    proof = {"Authorization": f"Bearer {SECRETS['DESK_SECRET']}"} if proved else {}
    answer = front.client(None).post("/webhooks/desk", content=body, headers=proof)
    assert answer.status_code == (202 if proved else 401)
    if proved:
        (job,) = front.client("admin").get("/v1/jobs", params={"account": "acme"}).json()["jobs"]
        assert job["state"] == "failed"
