"""Public keys and tokens in the settings: what cannot work or lets too many in is a fault."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.sender_keys import (
    as_base64,
    as_der,
    as_jwks,
    as_pem,
    make_ed25519,
    make_elliptic,
    make_rsa,
    name_case,
)
from worker.config import Settings, load_settings
from worker.errors import InvalidSettings

ED25519, ELLIPTIC, RSA = make_ed25519("sender"), make_elliptic("sender"), make_rsa("sender")
ACCOUNT = '[accounts.acme]\ntoken = "env:TOKEN"\nsecret = "env:SECRET"\n'
RULES = "[[sources.hook.rules]]\naction = 'a'\nrelationtype = 'r'\nparentid = 'p'\nchildid = 'c'\n"
SIGNED = "scheme = 'public-key'\nheader = 'X-Sign'\ntimestamp_header = 'X-Time'\n"
PRIVATE = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

Read = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Load a source of these settings, whose file `key` has this content."""

    def read_text(text: str, key: str = "", secret: str = "", *, spare: bool = False) -> Settings:
        (tmp_path / "key").write_text(key)
        (tmp_path / "relations.toml").write_text(
            f"{ACCOUNT}[sources.hook]\naccount = 'acme'\n{text}\n{RULES}", "utf-8"
        )
        environ = {"TOKEN": "t" * 32, "SECRET": "s" * 64, "HOOK": secret}
        return load_settings(environ, tmp_path, spare=spare)

    return read_text


@pytest.fixture
def faults(read: Read) -> Callable[..., list[str]]:
    """Return the faults of a source of these settings."""

    def find(text: str, key: str = "", secret: str = "") -> list[str]:
        with pytest.raises(InvalidSettings) as raised:
            read(text, key, secret)
        return [str(fault).removeprefix("sources.hook.") for fault in raised.value.faults]

    return find


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (SIGNED, as_base64(ED25519)),
        (SIGNED + "algorithm = 'sha512'\nsigned = '{timestamp}{body}'", as_pem(RSA)),
        (SIGNED, as_jwks(RSA, ELLIPTIC)),
        (SIGNED + "algorithm = 'sha512'", as_pem(RSA) + as_pem(ED25519)),  # while a sender changes its kind
        ("scheme = 'standard-webhooks'", f"whpk_{as_base64(ED25519)}"),
        ("scheme = 'jwt'\nclaims = { iss = 'x', aud = 'y' }", as_jwks(RSA)),
        ("scheme = 'jwt'\nclaims = {}\nsignature_in = 'body'\nmax_age = 3600", as_pem(RSA)),
    ],
    ids=name_case,
)
def test_a_key_in_a_file_needs_no_secret_and_no_warning(read: Read, text: str, key: str) -> None:
    settings = read(f"{text}\npublic_key = 'file:key'", key)
    assert settings.warnings == ()
    assert settings.sources["hook"].secrets == ()


@pytest.mark.parametrize(
    "written", [as_base64(ED25519), f'''"""{as_pem(RSA)}"""''', "[WRITTEN, 'env:HOOK']"], ids=name_case
)
def test_a_key_may_be_written_into_the_settings_and_there_may_be_several(read: Read, written: str) -> None:
    quoted = f"'{as_der(ELLIPTIC)}'"
    written = written.replace("WRITTEN", quoted) if written[0] in '["' else f"'{written}'"
    assert read(f"{SIGNED}public_key = {written}", secret=as_der(RSA)).warnings == ()
    mixed = f"{SIGNED}algorithm = 'sha512'\npublic_key = ['{as_base64(ED25519)}', 'env:HOOK']"
    assert read(mixed, secret=as_der(RSA)).warnings == ()


NO_CLAIMS = "scheme = 'jwt'\nclaims = {}\n"


@pytest.mark.parametrize(
    ("text", "key", "fault"),
    [
        ("scheme = 'public-key'\nheader = 'X'\nsecret = 'env:HOOK'", "", "public_key: is missing; expected"),
        ("scheme = 'jwt'", "", "secret: is missing; expected env:NAME, file:PATH or the secret itself"),
        ("scheme = 'bearer'", "", "secret: is missing; expected env:NAME, file:PATH or the secret itself"),
        ("scheme = 'hmac'\nheader = 'X'", "KEY", 'public_key: belongs to scheme "public-key"; scheme "hmac"'),
        (f"{SIGNED}secret = 'env:HOOK'", "KEY", "secret: is of no use beside a public key"),
        ("scheme = 'public-key'", "KEY", "header: is missing; expected the name of the header"),
        (f"{SIGNED}secret_from = 'header:X-Secret'", "KEY", 'secret_from: belongs to scheme "hmac"'),
        (f"{SIGNED}algorithm = 'sha256'", "KEY", "algorithm: is of ECDSA and RSA"),
        (f"{SIGNED}claims = {{ a = 'b' }}", "KEY", 'claims: belongs to scheme "jwt"'),
        (SIGNED, "", "public_key: file:key is empty or not set"),
        (SIGNED, "no key", "public_key: expected a public key: PEM, a certificate, base64, hex or JWK"),
        (SIGNED, PRIVATE, "public_key: is a private key, which only its sender may have"),
        ("scheme = 'standard-webhooks'", as_pem(RSA), "public_key: expected an Ed25519 key, mostly after"),
        ("scheme = 'standard-webhooks'", as_pem(RSA) + as_pem(ED25519), "public_key: expected an Ed25519"),
        ("scheme = 'jwt'", as_jwks(RSA), "claims: is missing, so tokens that are meant for others are good"),
        ("scheme = 'jwt'\nclaims = { aud = 5 }", as_jwks(RSA), "claims: expected a table of what a token"),
        (
            "scheme = 'jwt'\nclaims = { h = '{body}' }",
            as_jwks(RSA),
            'claims.h: expected "{body_sha256}", "{url_sha256}" or',
        ),
        (f"{SIGNED}encoding = 'jws'\nalgorithm = 'sha512'", as_pem(RSA), "algorithm: is said by a signature"),
        (f"{NO_CLAIMS}signed = '{{body}}'", as_jwks(RSA), 'signed: belongs to scheme "hmac"'),
        (f"{NO_CLAIMS}algorithm = 'sha256'", as_jwks(RSA), 'algorithm: belongs to scheme "hmac"'),
    ],
    ids=name_case,
)
def test_what_cannot_work_is_named_and_no_key_is_repeated(
    faults: Callable[..., list[str]], text: str, key: str, fault: str
) -> None:
    named = "" if key == "" and "X-Sign" not in text else "\npublic_key = 'file:key'"
    content = as_base64(ED25519) if key == "KEY" else key
    found = faults(f"{text}{named}", content, "a-secret-0123456789")
    assert found[0].startswith(fault)
    assert "-----BEGIN" not in str(found)


@pytest.mark.parametrize("public", [as_der(RSA), as_der(ED25519), as_jwks(RSA)], ids=name_case)
@pytest.mark.parametrize(
    "scheme", ["'jwt'", "'hmac'\nencoding = 'jws'\nheader = 'X-Sign'"], ids=["token", "without its content"]
)
def test_a_public_key_is_no_secret_of_tokens(
    faults: Callable[..., list[str]], scheme: str, public: str
) -> None:
    found = faults(f"scheme = {scheme}\nsecret = 'env:HOOK'", secret=public)
    assert found == ["secret: is a public key, so everybody could sign by it; it belongs in public_key"]


def test_a_signature_by_sha1_or_without_a_time_is_a_warning(read: Read) -> None:
    without_time = SIGNED.replace("timestamp_header = 'X-Time'\n", "")
    warned = read(f"{without_time}algorithm = 'sha1'\npublic_key = 'file:key'", as_pem(RSA)).warnings
    assert [text.removeprefix("sources.hook.").partition(":")[0] for text in warned] == [
        "timestamp_header",
        "algorithm",
    ]


@pytest.mark.parametrize(
    ("text", "is_signed"),
    [
        ("signature_in = 'body'\ntimestamp_in = 'body:at'", True),
        ("timestamp_in = 'body:at'\nclaims = { h = '{body_sha256}' }", True),
        ("timestamp_in = 'body:at'", False),
        ("signature_in = 'body:token'\ntimestamp_in = 'body:at'", False),
        ("signature_in = 'body'\ntimestamp_in = 'query:at'", False),
        ("", True),
    ],
)
def test_a_time_that_no_token_signs_is_a_warning(read: Read, text: str, is_signed: bool) -> None:
    warned = read(f"scheme = 'jwt'\nsecret = 'env:HOOK'\n{text}", secret="a-secret-0123456789").warnings
    assert any("good for ever" in each for each in warned) != is_signed


def test_a_key_that_cannot_be_read_stops_a_server_and_no_other_command(read: Read) -> None:
    text = f"{SIGNED}public_key = 'file:nowhere'"
    assert read(text, spare=True).spared
    with pytest.raises(InvalidSettings, match="file:nowhere cannot be read"):
        read(text)
