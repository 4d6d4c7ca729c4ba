"""Rules for the webhook sources, which a single setting cannot see: keys, signatures, owners and answers."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from worker.config.checks import (
    UnreadableSecret,
    Warned,
    check_known,
    check_secret,
    check_strength,
    value_of,
)
from worker.config.kinds import BODY_SHA256, SECRETS, URL_SHA256
from worker.config.public_keys import is_public_key, read_public_keys
from worker.config.signature_format import SignatureFormat
from worker.config.table import join, keys_of
from worker.config.values import Account, Scheme, Source
from worker.errors import Fault, InvalidSettings

TIMES: Final = ("timestamp_header", "timestamp_in", "timestamp_field")  # each says where the time stands
SIGNED: Final[tuple[Scheme, ...]] = ("hmac", "public-key")  # schemes that sign what the settings say
# The schemes that have a use for a key, that first to which it belongs; for all others every scheme has.
USED_BY: Final[Mapping[str, Sequence[Scheme]]] = {
    **dict.fromkeys(keys_of(SignatureFormat), SIGNED),
    **dict.fromkeys(("header", "signature_in", "timestamp_in", "max_age"), (*SIGNED, "jwt")),
    "secret_from": ("hmac",),
    "secret_in": ("secret",),
    "public_key": ("public-key", "jwt", "standard-webhooks"),
    "claims": ("jwt",),
}


def check_source(
    source: Source, given: Mapping[str, Any], accounts: Mapping[str, Account]
) -> Iterator[Fault]:
    """Yield what keeps a source from working; `given` is its table as written."""
    for secret in source.secrets or ():
        if source.secret_from and secret.file and not secret.written_at:
            yield Warned("secret", "is not there yet; the sender hands it over when its hook is made")
            continue
        yield from check_secret("secret", secret)
        yield from check_strength(source.scheme, value_of(secret))
    if source.secret_from and not all(secret.file for secret in source.secrets or ()):
        yield Fault("secret_from", 'needs secret = "file:…", to write there what the sender hands over')
    yield from _check_use(source, given)
    yield from _check_signature(source, given)
    yield from _check_proof(source, given)
    yield from _check_owner(source, given, accounts)
    yield from _check_claims(source, accounts)
    if not given.get("rules"):
        yield Fault("rules", f"is missing; add a [[{join('sources', source.name)}.rules]] table")
    yield from _check_sender_keys(source, given)
    yield from _check_signed(source, given)
    yield from _check_answers(source)


def check_sharing(sources: Mapping[str, Source]) -> Iterator[Fault]:
    """Yield a secret of a source by which another signs what anybody asks for."""
    signing = [source for source in sources.values() if source.signs_challenge]
    for source in sources.values():
        for other in [] if source.signs_challenge else signing:
            if not {*source.secrets}.isdisjoint(other.secrets):
                given = f"sources.{other.name} signs challenges by it, and anybody may ask for one"
                advice = "take another secret, or the same challenge_in and challenge_answer here"
                yield Warned(f"{join('sources', source.name)}.secret", f"{given}; {advice}")


def _check_use(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield keys that the source's scheme has no use for."""
    for key, schemes in USED_BY.items():
        if key in given and source.scheme not in (*schemes, None):
            yield Fault(key, f'belongs to scheme "{schemes[0]}"; scheme "{source.scheme}" has no use for it')


def _check_signature(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield keys about the signature that are missing, or that contradict each other."""
    if source.scheme in SIGNED and given.keys().isdisjoint(("header", "signature_in")):
        yield Fault("header", "is missing; expected the name of the header that carries the signature")
    for key, others in (("signature_in", ("header",)), ("timestamp_in", TIMES)):
        if found := [other for other in others if key in given and other in given and other != key]:
            yield Fault(key, f"says what {found[0]} says, too; leave one of them out")
    if "timestamp_field" in given and "signature_field" not in given:
        yield Fault(
            "signature_field", "is missing; expected the field of the header that holds the signature"
        )
    if "max_age" in given and given.keys().isdisjoint(TIMES) and source.scheme != "jwt":
        yield Fault("max_age", "is of a time of sending; expected timestamp_header, timestamp_in or so, too")


def _check_proof(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield a proof that can be copied from one delivery to another, or whose place nobody has named."""
    if source.scheme in SIGNED and given.keys().isdisjoint(TIMES):
        advice = "name the header or field with the time of sending, if the sender has one"
        yield Warned("timestamp_header", f"is missing, so a copy of a delivery is good for ever; {advice}")
    if source.signed and not any(name in source.signed for name in ("{body}", "{form}", "{digest}")):
        yield Warned("signed", "does not cover the whole body: who has seen one delivery may send others")
    if source.signed == "{digest}" and source.signs_challenge:
        yield Warned(
            "signed", "is a word as a challenge is, if the digest is in hex: then no message is taken"
        )
    if source.scheme == "secret" and "secret_in" not in given:
        yield Fault(
            "secret_in", 'is missing; expected "path", "header:NAME", "query:NAME" or "body:EXPRESSION"'
        )


def _check_signed(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what `signed` names that stands nowhere, and what stands somewhere and is not signed."""
    if "{timestamp}" in source.signed and given.keys().isdisjoint(TIMES):
        wanted = "timestamp_header, timestamp_in or timestamp_field to say where it stands"
        yield Fault("signed", f"has a {{timestamp}}; expected {wanted}")
    if "digest_in" in given and source.scheme in SIGNED and not source.signs_digest:
        yield Fault("digest_in", "is not signed itself, so anybody could write another; signed must cover it")
    if "{params}" in source.signed and "signature_field" not in given:
        yield Fault("signature_field", "is missing; expected the label of the signature, such as sig1")
    if "{digest}" in source.signed and "digest_in" not in given:
        yield Fault("signed", 'has a {digest}; expected digest_in = "header:NAME" to say where it stands')


def _check_owner(source: Source, given: Mapping[str, Any], accounts: Collection[str]) -> Iterator[Fault]:
    """Yield what leaves open which account the changes of a source are for."""
    if ("account" in given) == ("account_from" in given):
        yield Fault("account", "expected either account, or account_from with accounts")
    if ("account_from" in given) != ("accounts" in given):
        meaning = "each value it may find, and the account it stands for"
        yield Fault("accounts", f"belongs to account_from: {meaning}")
    if source.account:
        yield from check_known("account", source.account, accounts)
    for found, account in source.accounts.items():
        yield from check_known(join("accounts", found), account, accounts)


def _check_claims(source: Source, accounts: Mapping[str, Account]) -> Iterator[Fault]:
    """Yield what keeps a source from writing the claims of its accounts."""
    if not source.keeps_claim:
        return
    if source.scheme not in ("onoffice", None):
        yield Fault("keeps_claim", f'belongs to scheme "onoffice"; scheme "{source.scheme}" has no apiClaim')
    for name in source.account_names:
        claim = accounts[name].extendedclaim if name in accounts else None
        if name in accounts and not (claim and claim.file):
            yield Fault(
                "keeps_claim", f'needs extendedclaim = "file:…" in accounts.{name}, to write it there'
            )


def _check_answers(source: Source) -> Iterator[Fault]:
    """Yield what cannot be answered."""
    if source.answer_body and source.answer == HTTPStatus.NO_CONTENT:
        yield Fault("answer_body", "cannot be sent with answer = 204, which has no body")
    if bool(source.challenge_in) != bool(source.challenge_answer):
        missing = "challenge_answer" if source.challenge_in else "challenge_in"
        yield Fault(missing, "is missing; a check of the address needs challenge_in and challenge_answer")
    if source.signs_challenge and source.scheme not in ("hmac", None):
        yield Fault("challenge_answer", 'can have an {hmac} with scheme "hmac" only')


def _check_sender_keys(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
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
    yield from _check_token(source, given)


def _check_which(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield that there is no secret and no public key, or both."""
    if "public_key" not in given:
        if source.scheme == "public-key":
            yield Fault("public_key", "is missing; expected the key that the sender publishes")
        elif "secret" not in given:
            yield Fault("secret", f"is missing; expected {SECRETS.description}")
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


def _check_token(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what lets tokens in that were made for somebody else, or by everybody."""
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
