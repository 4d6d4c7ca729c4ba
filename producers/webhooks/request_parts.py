"""What rules read of a request beside its body: headers, the query, and further parts of the address. Pure.

A message that is kept to be read again begins with them, and no secret is among them.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from producers.webhooks.expressions import calls_of
from producers.webhooks.fields import split_fields
from producers.webhooks.functions import further_parts
from producers.webhooks.signatures import WebhookDelivery
from worker.config import Rule, Source
from worker.config.kinds import BODY_SHA256, URL_SHA256
from worker.config.secret import STARS
from worker.config.source_checks import SIGNED

HEAD: Final = re.compile(rb"(GET|POST) (/webhooks/\S*) HTTP/1\.1\r?\n((?:[^\r\n]+\r?\n)*)\r?\n")


def make_head(source: Source, delivery: WebhookDelivery) -> bytes:
    """Return what the source's rules read beside the body, as the head of a request, or nothing.

    What a GET without a body says stands in its query.
    """
    calls, is_query = _calls(source), has_message_in_query(source, delivery)
    if not calls and not is_query:
        return b""
    headers = {name: delivery.headers[name] for name in list_read_headers(source) if name in delivery.headers}
    target = f"/webhooks/{source.name}"
    if is_query or {"query", "path"} & {function for function, _ in calls}:
        target += show_path(source, delivery) + show_query(source, delivery)
    return write_head(delivery.method, target, headers)


def has_message_in_query(source: Source, delivery: WebhookDelivery) -> bool:
    """Return whether a message stands in the query, as a form of HTML that is sent by GET has it.

    Not where its sender signs the body alone: to one that is empty, anybody could write a query.
    """
    claims = source.claims.values()
    signs_body = source.scheme in (*SIGNED, "standard-webhooks") or BODY_SHA256 in claims
    signs_query = "{url}" in source.signed or URL_SHA256 in claims
    return delivery.method == "GET" and not delivery.body and (signs_query or not signs_body)


def write_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of a request, as `read_kept` reads it."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1", "replace")


def list_read_headers(source: Source) -> list[str]:
    """Return the names of the headers that the source's rules read, in lower case."""
    return sorted({argument.lower() for function, argument in _calls(source) if function == "header"})


def read_kept(source: Source, kept: bytes) -> WebhookDelivery:
    """Return the delivery of a message that was kept."""
    if source.scheme == "onoffice":
        return WebhookDelivery(f"?{kept.decode('latin-1')}", {}, b"")
    if not (head := HEAD.match(kept)):
        return WebhookDelivery("", {}, kept)
    # Not by `splitlines` and `strip`, which take bytes of UTF-8 for ends of lines and blanks of Latin-1.
    lines = (line.partition(":") for line in head[3].decode("latin-1").split("\n") if line)
    headers = {name.lower(): value.strip(" \t\r") for name, _, value in lines}
    url = f"https://kept{head[2].decode('latin-1')}"
    return WebhookDelivery(url, headers, kept[head.end() :], head[1].decode())


def _calls(source: Source) -> frozenset[tuple[str, str]]:
    around = (source.account_from, *(rule.when for rule in source.ignore))
    return frozenset().union(*map(calls_of, around), *map(_calls_of_rule, source.rules))


@lru_cache(maxsize=1024)
def _calls_of_rule(rule: Rule) -> frozenset[tuple[str, str]]:
    return frozenset().union(*map(calls_of, rule.expressions))


def show_path(source: Source, delivery: WebhookDelivery) -> str:
    """Return the further parts of the address, with stars in place of a secret."""
    secrets = {secret.reveal().encode() for secret in source.secrets}
    return "".join(f"/{STARS if part in secrets else raw}" for part, raw in further_parts(delivery))


def show_query(source: Source, delivery: WebhookDelivery) -> str:
    """Return the query with its question mark, without the fields that hold a secret or a signature."""
    proofs = (source.secret_in, source.signature_in)
    hidden = {place.removeprefix("query:").encode() for place in proofs if place.startswith("query:")}
    pieces = [
        piece
        for piece in delivery.url.partition("?")[2].split("&")
        if not any(given.encode("latin-1") in hidden for given, _ in split_fields(piece.encode("latin-1")))
    ]
    return f"?{'&'.join(pieces)}" if any(pieces) else ""
