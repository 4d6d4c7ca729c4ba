"""What the signature of scheme `hmac` covers, put together as `signed` of a source says. Pure."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from producers.webhooks.body import read_form_fields
from producers.webhooks.places import Places
from producers.webhooks.signatures import WebhookDelivery, refusal
from worker.config import Source
from worker.config.written_bytes import decode_bytes

# What is put in by its name, and what is looked for at a place.
PLACEHOLDER: Final = re.compile(
    r"\{(body|form|digest|params|timestamp|method|url|(?:header|query|body):[^{}]+)\}"
)
# A list of components, and its parameters, as RFC 9421 has them.
PARAMS: Final = r'\((?:[^"()]|"[^"]*")*\)(?:;[a-z*_.-]+(?:=(?:"[^"]*"|[^;,\s"]+))?)*'
MAX_PARAMS: Final = 4096  # characters, which anybody may send
# A hash of the body, alone or as the headers Digest and Content-Digest have it: `SHA-256=…`, `sha-512=:…:`.
DIGEST: Final = re.compile(r"(?:sha-?(256|512)=)?:?([A-Za-z0-9+/_-]+={0,2}):?", re.IGNORECASE)
# Characters that HubSpot decodes in the URL before it signs it; of others the escapes stay.
HUBSPOT_ESCAPES: Final = re.compile(r"%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
ORIGIN: Final = re.compile(r"(https?)://(\[[^]]*\]|[^/?#:]*)(:[0-9]+)?(?=[/?#]|\Z)", re.IGNORECASE)
PORTS: Final = {"http": ":80", "https": ":443"}


def make_contents(source: Source, places: Places, timestamp: str) -> list[bytes]:
    """Return each content that the sender may have signed, by the ways to write the address.

    Of a body whose hash was signed in its place no form is read. Raises Unauthorized if something that it
    covers is not there.
    """
    template = source.signed or ("{timestamp}.{body}" if timestamp else "{body}")
    parts = PLACEHOLDER.split(template)  # text, name, text, name, …, text
    delivery, digest = places.delivery, _find_digest(source, places)
    urls = _spellings(delivery.url) if "url" in parts[1::2] else [""]
    values = {"body": delivery.body, "timestamp": timestamp.encode(), "method": delivery.method.encode()}
    if digest:
        values |= {"digest": digest.encode(), "form": b""}
    if "params" in parts[1::2]:
        values["params"] = find_params(source, places).encode("latin-1")
    for name in {*parts[1::2]} - {*values, "url"}:
        place = source.digest_in if name == "digest" else name
        values[name] = _read_form(delivery) if name == "form" else _read_place(places, place)
    return [_fill(parts, {**values, "url": url.encode("latin-1")}) for url in dict.fromkeys(urls)]


def _find_digest(source: Source, places: Places) -> str:
    """Return the hash of the body as its sender wrote it, nothing if none was sent.

    Raises Unauthorized if it is that of another body.
    """
    found = places.find(source.digest_in)
    if found and not _is_hash_of(places.delivery.body, found[0]):
        raise refusal(f"the body has another hash than the one at {source.digest_in}")
    return found[0] if found else ""


def _is_hash_of(body: bytes, written: str) -> bool:
    """Return whether one of a list is the hash of the body, which is made once, however long the list is."""
    listed = [parts for part in written.split(",") if (parts := DIGEST.fullmatch(part.strip()))]
    digests = {
        size: hashlib.new(f"sha{size or 256}", body).digest() for size in {parts[1] for parts in listed}
    }
    return any(decode_bytes(parts[2]) == digests[parts[1]] for parts in listed)


def find_params(source: Source, places: Places) -> str:
    """Return what an HTTP message signature (RFC 9421) says that it covers, and when it was made.

    It stands in the header Signature-Input under the label that the signature has in the header Signature.
    """
    member = rf"(?:^|,)\s*{re.escape(source.signature_field)}=({PARAMS})\s*(?:,|$)"
    found = re.search(member, places.delivery.headers.get("signature-input", "")[:MAX_PARAMS])
    if not found:
        raise refusal(f"Signature-Input has no {source.signature_field}, which its signature covers")
    return found[1]


def _fill(parts: Sequence[str], values: Mapping[str, bytes]) -> bytes:
    return b"".join(values[part] if index % 2 else part.encode() for index, part in enumerate(parts))


def list_expressions(signed: str) -> list[str]:
    """Return the expressions by which a text of `signed` looks into the body."""
    return [name.removeprefix("body:") for name in PLACEHOLDER.findall(signed) if name.startswith("body:")]


def _spellings(url: str) -> Iterator[str]:
    """Yield an address as it came, as HubSpot decodes it, and without its port or with it, as Twilio may."""
    yield url
    yield HUBSPOT_ESCAPES.sub(lambda escape: chr(int(escape[1], 16)), url)
    if origin := ORIGIN.match(url):
        port = "" if origin[3] else PORTS[origin[1].lower()]
        yield f"{origin[1]}://{origin[2]}{port}{url[origin.end() :]}"


def _read_place(places: Places, place: str) -> bytes:
    if not (found := places.find(place)):
        raise refusal(f"there is nothing at {place}, which its signature covers")
    return found[0].encode("utf-8", "surrogatepass")


def _read_form(delivery: WebhookDelivery) -> bytes:
    """Return the fields of a form, sorted, each as its name and its value with nothing between them.

    What is named twice with one value stands once, as Twilio signs it.
    """
    fields = read_form_fields(delivery.body) if delivery.body else []
    if fields is None:
        raise refusal("the body is not a form, so nobody signed it")
    return "".join(f"{name}{value}" for name, value in sorted(set(fields))).encode("latin-1")
