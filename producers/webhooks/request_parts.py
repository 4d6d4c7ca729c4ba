"""What rules read of a request beside its body: headers, the query, and further parts of the address. Pure.

A message that is kept to be read again begins with them, and no secret is among them.
"""

import re
from collections.abc import Iterator
from typing import Final

from producers.webhooks.expressions import calls_of
from producers.webhooks.fields import split_fields
from producers.webhooks.functions import further_parts
from producers.webhooks.signatures import WebhookDelivery
from worker.config import Source

HEAD: Final = re.compile(rb"(GET|POST) (/webhooks/\S*) HTTP/1\.1\r?\n((?:[^\r\n]+\r?\n)*)\r?\n")
STARS: Final = "***"


def make_head(source: Source, delivery: WebhookDelivery) -> bytes:
    """Return what the source's rules read beside the body, as the head of a request, or nothing."""
    calls = {call for expression in _expressions(source) for call in calls_of(expression)}
    if not calls:
        return b""
    names = sorted({argument.lower() for function, argument in calls if function == "header"})
    headers = [f"{name}: {delivery.headers[name]}" for name in names if name in delivery.headers]
    target = f"/webhooks/{source.name}"
    if {"query", "path"} & {function for function, _ in calls}:
        target += _shown_path(source, delivery) + _shown_query(source, delivery)
    head = "\r\n".join([f"{delivery.method} {target} HTTP/1.1", *headers, "", ""])
    return head.encode("latin-1", "replace")


def read_kept(source: Source, kept: bytes) -> WebhookDelivery:
    """Return the delivery of a message that was kept."""
    if source.scheme == "onoffice":
        return WebhookDelivery(f"?{kept.decode('latin-1')}", {}, b"")
    if not (head := HEAD.match(kept)):
        return WebhookDelivery("", {}, kept)
    lines = (line.partition(":") for line in head[3].decode("latin-1").splitlines())
    headers = {name.lower(): value.strip() for name, _, value in lines}
    url = f"https://kept{head[2].decode('latin-1')}"
    return WebhookDelivery(url, headers, kept[head.end() :], head[1].decode())


def _expressions(source: Source) -> Iterator[str]:
    yield source.account_from
    for rule in source.rules:
        yield from rule.expressions


def _shown_path(source: Source, delivery: WebhookDelivery) -> str:
    secrets = {secret.reveal().encode() for secret in source.secrets}
    return "".join(f"/{STARS if part in secrets else raw}" for part, raw in further_parts(delivery.url))


def _shown_query(source: Source, delivery: WebhookDelivery) -> str:
    place, _, name = source.secret_in.partition(":")
    hidden = name.encode() if place == "query" else None
    pieces = [
        piece
        for piece in delivery.url.partition("?")[2].split("&")
        if not any(given.encode("latin-1") == hidden for given, _ in split_fields(piece.encode("latin-1")))
    ]
    return f"?{'&'.join(pieces)}" if any(pieces) else ""
