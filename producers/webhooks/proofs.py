"""Takes secrets and signatures out of what is kept of a delivery, however their sender wrote them. Pure."""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from producers.webhooks.places import Places
from producers.webhooks.signatures import WebhookDelivery
from worker.config import Source, hide
from worker.config.secret import STARS

BEGINNING: Final = 4  # characters; what finds all of a proof costs more to make than to use
LONGEST: Final = (
    2048  # characters of a proof that is found in other spellings; an RSA signature has 1368 at most
)
BACKSLASHES: Final = r"\\{1,8}+"  # of JSON within texts of JSON; bounded, as every look at a body is
ENTITIES: Final = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}  # of XML and HTML


def hide_secret(secret: str) -> None:
    """Hide a secret as it stands in URLs, JSON and XML too, so that no log and no kept message shows it."""
    for spelling in (quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], escape(secret)):
        hide(spelling)


def hide_proofs(source: Source, delivery: WebhookDelivery) -> WebhookDelivery:
    """Return the delivery with stars in place of secrets and signatures that stand in its body.

    Its own proof in a spelling that is not known takes the whole body with it. What a token claims stays,
    since rules may read it.
    """
    proofs = [secret.reveal() for secret in source.secrets] if source.secret_in else []
    proofs += find_signatures(source, delivery)
    shown = delivery._replace(body=_put_stars(delivery.body, proofs)) if proofs else delivery
    is_in_body = (source.secret_in or source.signature_in).startswith("body")
    return shown._replace(body=b"") if is_in_body and still_proves(source, shown) else shown


def find_signatures(source: Source, delivery: WebhookDelivery) -> list[str]:
    """Return the signatures that stand in the body of a delivery, of a token what proves it."""
    found = Places(delivery).find(source.signature_in) if source.signature_in.startswith("body") else []
    return [*filter(None, (text.rpartition(".")[2] if source.scheme == "jwt" else text for text in found))]


def still_proves(source: Source, delivery: WebhookDelivery) -> bool:
    """Return whether a secret or a signature that is sent as it is can be found at its place."""
    places = Places(delivery)
    secrets = {secret.reveal() for secret in source.secrets} if source.secret_in else set()
    signatures = [text for text in places.find(source.signature_in) if not text.endswith(STARS)]
    return bool(signatures) or not secrets.isdisjoint(places.find(source.secret_in))


def _put_stars(body: bytes, proofs: Iterable[str]) -> bytes:
    text = body.decode("utf-8", "surrogateescape")
    for proof in sorted(proofs, key=len, reverse=True):  # one may begin as another does
        is_long = len(proof) > LONGEST
        as_it_is = rf"(?<!\\){re.escape(proof)}(?!\\)"
        text = text.replace(proof, STARS) if is_long else re.sub(as_it_is, STARS, text)
        if not _spellings_of(proof[:BEGINNING]).search(text):
            continue
        if is_long:
            return b""
        text = _spellings_of(proof).sub(STARS, text)
    return text.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=64)
def _spellings_of(text: str) -> re.Pattern[str]:
    """Return what finds a text as JSON, forms, URLs and XML may write it, each character by itself."""
    return re.compile("".join(map(_spell, text)))


def _spell(character: str) -> str:
    if character == "\\":
        return rf"(?:{BACKSLASHES}|%5[cC])"
    encoded = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass").hex()
    ways = [
        re.escape(character),
        "".join(rf"{BACKSLASHES}u(?i:{units[at : at + 4]})" for at in range(0, len(units), 4)),
        "".join(f"%(?i:{byte:02x})" for byte in encoded),
        f"&#(?i:0{{0,6}}{ord(character)}|x0{{0,6}}{ord(character):x});",
    ]
    if character in '"/':
        ways.append(BACKSLASHES + re.escape(character))
    if character == " ":
        ways.append(r"\+")
    if character in ENTITIES:
        ways.append(f"&{ENTITIES[character]};")
    return f"(?:{'|'.join(ways)})"
