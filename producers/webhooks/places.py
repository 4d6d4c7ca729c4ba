"""Where a sender puts its secret, its signature or the time: a header, the query, the path, the body. Pure.

A place is written as the settings have it: `header:NAME`, `query:NAME`, `path` `body:EXPRESSION`, or `body`
for all of it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Final

from producers.webhooks.body import read_body_value
from producers.webhooks.expressions import search
from producers.webhooks.fields import split_fields
from producers.webhooks.functions import further_parts
from producers.webhooks.scope import Scope
from producers.webhooks.signatures import WebhookDelivery
from worker.errors import InvalidChange


class Places:
    """The places of one delivery; its body is read once, and only if a place is in it."""

    def __init__(self, delivery: WebhookDelivery) -> None:
        self.delivery = delivery

    def find(self, place: str) -> list[str]:
        """Return what stands at a place, in each way to read it; nothing if there is nothing."""
        kind, _, name = place.partition(":")
        return list(dict.fromkeys(filter(None, FINDERS[kind](self, name)))) if kind else []

    @cached_property
    def payload(self) -> object:
        """The value of the body, None of one that cannot be read."""
        with suppress(InvalidChange, RecursionError):  # whoever is not known yet learns nothing of the body
            return read_body_value(self.delivery)
        return None


def _in_header(places: Places, name: str) -> Iterator[str]:
    value = places.delivery.headers.get(name.lower(), "").strip()
    yield value
    yield _decode(value.encode("latin-1", "ignore"))  # what is read as Latin-1 may be UTF-8


def _in_query(places: Places, name: str) -> Iterator[str]:
    query = places.delivery.url.partition("?")[2].encode("latin-1")
    # People write a plus as it is into an address, where it stands for a blank.
    for given, value in (*split_fields(query), *split_fields(query.replace(b"+", b"%2B"))):
        if given.encode("latin-1") == name.encode():
            yield _decode(value.encode("latin-1"))


def _in_path(places: Places, _name: str) -> Iterator[str]:
    for part, _ in further_parts(places.delivery):
        yield _decode(part)


def _in_body(places: Places, expression: str) -> Iterator[str]:
    if not expression:
        yield _decode(places.delivery.body).strip()
        return
    with suppress(InvalidChange):
        found = search(expression, Scope(places.payload, delivery=places.delivery), "")
        is_number = isinstance(found, int) and not isinstance(found, bool)
        yield str(found) if isinstance(found, str) or is_number else ""


FINDERS: Final[Mapping[str, Callable[[Places, str], Iterator[str]]]] = {
    "header": _in_header,
    "query": _in_query,
    "path": _in_path,
    "body": _in_body,
}


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")
