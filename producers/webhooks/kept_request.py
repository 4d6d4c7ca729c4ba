"""What is kept of a delivery's request: no secret and no proof, whether of its head or in its body. Pure.

It is written as a request is, so that `request_parts.read_kept` reads it again. Rules of tomorrow may read
headers that nobody reads today, so that all are kept which say what a message is about.
"""

import re
from collections.abc import Iterator
from typing import Final

from producers.webhooks.fields import drop_claim
from producers.webhooks.request_parts import list_read_headers, read_kept, show_path, show_query, write_head
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import still_proves
from worker.config import Source, redact_bytes
from worker.ports import MAX_DELIVERY_BODY

TELLING: Final = re.compile(
    r"content-type|user-agent|date|.*(event|topic|hook|type|version|sequence|request-id)"
)
PROVING: Final = re.compile(r".*(auth|cookie|token|secret|sign|pass|hmac|digest|session|credential|key)")
MAX_HEADERS: Final = 20  # beside those that rules read
MAX_HEADER: Final = 500  # characters of one
MAX_TARGET: Final = 8192  # characters of the address


def make_kept_request(source: Source, delivery: WebhookDelivery) -> tuple[bytes, bool]:
    """Return the request as it may be kept, and whether its body had to be cut or left out."""
    if source.scheme == "onoffice":
        query = delivery.url.partition("?")[2].encode("latin-1")
        return redact_bytes(drop_claim(query), MAX_DELIVERY_BODY), len(query) > MAX_DELIVERY_BODY
    target = f"/webhooks/{source.name}{show_path(source, delivery)}{show_query(source, delivery)}"
    is_long = len(target) > MAX_TARGET
    head = _make_head(source, delivery, f"/webhooks/{source.name}" if is_long else target)
    kept = head + redact_bytes(delivery.body, MAX_DELIVERY_BODY)
    if still_proves(source, read_kept(source, kept)):  # in a spelling that redacting does not know
        return head, True
    return kept, is_long or len(delivery.body) > MAX_DELIVERY_BODY


def _make_head(source: Source, delivery: WebhookDelivery, target: str) -> bytes:
    headers = {name: delivery.headers[name][:MAX_HEADER] for name in _list_headers(source, delivery)}
    head = write_head(delivery.method, target, headers)
    return redact_bytes(head, len(head))


def _list_headers(source: Source, delivery: WebhookDelivery) -> Iterator[str]:
    """Yield the names of headers that rules read now, then of those that they may come to read."""
    place, _, name = source.secret_in.partition(":")
    never = {"authorization", source.header.lower(), name.lower() if place == "header" else ""}
    read = [name for name in list_read_headers(source) if name in delivery.headers and name not in never]
    names = [name for name in delivery.headers if TELLING.match(name) and not PROVING.match(name)]
    yield from read
    yield from [name for name in names if name not in never and name not in read][:MAX_HEADERS]
