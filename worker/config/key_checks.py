"""Rules for public keys and tokens of a source, which a single setting cannot see."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from worker.config.checks import UnreadableSecret, Warned, value_of
from worker.config.kinds import BODY_SHA256, SECRETS, URL_SHA256
from worker.config.public_keys import is_public_key, read_public_keys
from worker.config.table import join
from worker.config.values import Source
from worker.errors import Fault, InvalidSettings

KEYED: Final = ("public-key", "jwt", "standard-webhooks")  # schemes that know public keys


def check_sender_keys(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with the keys that prove a sender, and with what a token must claim."""
    yield from _check_which(source, given)
    kinds: set[str] = set()
    for key in source.public_keys or ():
        try:
            found = {type(each).__name__ for each in read_public_keys(key.read())}
        except InvalidSettings as error:
            yield UnreadableSecret("public_key", f"{error.faults[0].path} {error.faults[0].message}")
        except ValueError as error:
            yield Fault("public_key", str(error))
        else:
            kinds |= found
    yield from _check_kinds(source, kinds, given)
    yield from _check_claims(source, given)


def _check_which(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield that there is no secret and no public key, both, or the one that the scheme does not know."""
    if "public_key" not in given:
        if source.scheme == "public-key":
            yield Fault("public_key", "is missing; expected the key that the sender publishes")
        elif "secret" not in given:
            yield Fault("secret", f"is missing; expected {SECRETS.description}")
    elif source.scheme not in (*KEYED, None):
        yield Fault(
            "public_key", f'belongs to scheme "public-key"; scheme "{source.scheme}" has no use for it'
        )
    if "secret" in given and ("public_key" in given or source.scheme == "public-key"):
        yield Fault("secret", "is of no use beside a public key; leave it out")


def _check_kinds(source: Source, kinds: Collection[str], given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not go with the kinds of the public keys that could be read."""
    others = [kind for kind in kinds if "Ed25519" not in kind]
    if source.scheme == "standard-webhooks" and others:
        yield Fault(
            "public_key", "expected an Ed25519 key, mostly after whpk_, as scheme standard-webhooks has it"
        )
    if "algorithm" in given and source.encoding == "jws":
        yield Fault("algorithm", 'is said by a signature of encoding "jws", as the key lets it; leave it out')
    elif "algorithm" in given and kinds and not others:
        yield Fault("algorithm", "is of ECDSA and RSA; Ed25519 has its own, so leave it out")
    elif source.scheme == "public-key" and source.algorithm == "sha1":
        yield Warned(
            "algorithm", "sha1 can be forged with enough work; let the sender sign by sha256 if it can"
        )


def _check_claims(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what lets tokens in that were made for somebody else, or by everybody."""
    if "claims" in given and source.scheme not in ("jwt", None):
        yield Fault("claims", f'belongs to scheme "jwt"; scheme "{source.scheme}" has no use for it')
    if source.scheme == "jwt" or source.encoding == "jws":
        yield from _check_secrets(source)
    if source.scheme != "jwt":
        return
    if "public_key" in given and "claims" not in given:
        wanted = 'expected who made it for whom, such as { iss = "…", aud = "…" }'
        wanted += ", or {} if its sender has a key for you alone"
        yield Fault("claims", f"is missing, so tokens that are meant for others are good here; {wanted}")
    is_body_signed = source.signature_in == "body" or BODY_SHA256 in source.claims.values()
    if source.timestamp_in and not (is_body_signed and source.timestamp_in.startswith("body")):
        outside = (
            "stands outside of what the token signs, so a token without times of its own is good for ever"
        )
        yield Warned("timestamp_in", outside)
    for name, value in source.claims.items():
        if value.startswith("{") and value not in (BODY_SHA256, URL_SHA256):
            known = f'"{BODY_SHA256}", "{URL_SHA256}"'
            yield Fault(join("claims", name), f"expected {known} or a text as the token has it")


def _check_secrets(source: Source) -> Iterator[Fault]:
    """Yield that a secret by which tokens or JWS are signed is known to everybody."""
    for secret in source.secrets or ():
        if is_public_key(value_of(secret)):
            yield Fault("secret", "is a public key, so everybody could sign by it; it belongs in public_key")
