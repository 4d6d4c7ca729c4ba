"""The hash of a body that its sender signs in place of the body, where `digest_in` says. Pure."""

import hashlib
import re
from typing import Final

from producers.webhooks.places import Places
from producers.webhooks.signatures import refusal
from worker.config import Source
from worker.config.written_bytes import decode_bytes

# One of a list, alone or as the headers Digest and Content-Digest have it: `SHA-256=…`, `sha-512=:…:`.
WRITTEN: Final = re.compile(r"(?:sha-?(256|512)=)?:?([A-Za-z0-9+/_-]+={0,2}):?", re.IGNORECASE)


def find_digest(source: Source, places: Places) -> str:
    """Return the hash of the body as its sender wrote it, nothing if none was sent.

    Raises Unauthorized if it is that of another body.
    """
    found = places.find(source.digest_in)
    if found and not _is_of(places.delivery.body, found[0]):
        raise refusal(f"the body has another hash than the one at {source.digest_in}")
    return found[0] if found else ""


def _is_of(body: bytes, written: str) -> bool:
    """Return whether one of a list is the hash of the body, which is made once, however long the list is."""
    listed = [parts for part in written.split(",") if (parts := WRITTEN.fullmatch(part.strip()))]
    digests = {
        size: hashlib.new(f"sha{size or 256}", body).digest() for size in {parts[1] for parts in listed}
    }
    return any(decode_bytes(parts[2]) == digests[parts[1]] for parts in listed)
