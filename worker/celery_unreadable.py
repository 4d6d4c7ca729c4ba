"""Messages that cannot be read: each becomes one of `relations.accept`, which keeps what came for operators.

So it is a task that keeps it, with its tries and redeliveries, where Celery or kombu would drop the message
or end the worker.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import NAMESPACE_OID, uuid4, uuid5

from kombu.utils.json import dumps, loads

from worker.celery_config import ACCEPT_TASK
from worker.contract.quoting import quote

UNDECODED: Final = "relations.undecoded"  # the argument that has content type, error and body (base64)
NO_MESSAGE: Final = "no message of Celery"
REFUSED: Final = "a message that Celery refuses"
PRIORITY: Final = "\x06"  # kombu's, between a queue's name and its priority
ENCODINGS: Final = (None, "base64")  # of a body within a Redis
MAX_DEPTH: Final = 20  # levels of lists and objects in a message; a list of changes has five


class UndecodedBody(NamedTuple):
    """A body as the worker received it, what it is serialized as, and the error of reading it."""

    content_type: str
    reason: str
    body: bytes

    @property
    def fault(self) -> str:
        """What is wrong with it, and what to do."""
        if self.content_type in (NO_MESSAGE, REFUSED):
            expected, remedy = (
                f"to the task {ACCEPT_TASK}",
                "send a change, or a list of them, as its argument",
            )
        else:
            expected, remedy = "in JSON", "set task_serializer='json'"
        return f"expected a message {expected}, got {quote(self.content_type)} ({self.reason}); {remedy}"


def wrap_refused(message: Any, error: BaseException) -> None:
    """Make a message that Celery would drop one of ours, with its body as argument."""
    text, name = _wrap(_describe(message), error, _raw_body(message)), message.headers.get("id")
    if not (isinstance(name, str) and name):
        tag = message.properties.get("delivery_tag")  # on a Redis only, which delivers it again by the same
        name = str(uuid5(NAMESPACE_OID, tag + text) if isinstance(tag, str) else uuid4())
    message.body, message._decoded_cache = text, None
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message.headers, message.properties = _headers(name), {}


def wrap_foreign(item: bytes, key: bytes) -> bytes:
    """Return what stood in a queue on a Redis; in a message of ours where it is none of Celery's.

    Whoever else writes there, by mistake or with another library, would end the worker. A message names the
    queue it came from, and has headers: given back to another that its sender names, or without any, it would
    be lost.
    """
    queue = key.decode().partition(PRIORITY)[0]
    own_place = {"exchange": "", "routing_key": queue}
    try:
        message = loads(item.decode())
        _check_envelope(message)
    except Exception as error:  # whatever the decoder of a type raises
        return _envelop(item, error, own_place)
    place, headers = message["properties"]["delivery_info"], message.setdefault("headers", {})
    if own_place.items() <= place.items() and isinstance(headers, dict):
        return item
    place |= own_place
    return dumps({**message, "headers": headers or {}}).encode()


def _envelop(item: bytes, error: Exception, place: Mapping[str, str]) -> bytes:
    """Return a message of ours, as kombu writes it, that has the item as argument."""
    name = str(uuid4())
    properties = {"delivery_tag": name, "delivery_info": place, "body_encoding": "base64"}
    envelope = {
        "body": b64encode(_wrap(NO_MESSAGE, error, item).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": _headers(name),
        "properties": {**properties, "correlation_id": name},
    }
    return json.dumps(envelope).encode()


def read_undecoded(fields: Mapping[str, object]) -> UndecodedBody | None:
    """Return the body that was wrapped as named arguments; None for any other, whatever they are called."""
    match fields.get(UNDECODED):
        case [str(content_type), str(reason), str(text)] if len(fields) == 1:
            with suppress(ValueError):
                return UndecodedBody(content_type, reason, b64decode(text, validate=True))
    return None


def is_shallow(value: object, levels: int = MAX_DEPTH) -> bool:
    """Return whether a value has no more levels of lists and objects."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return levels > 0 and all(
        is_shallow(item, levels - 1) for item in items if isinstance(item, dict | list | tuple)
    )


def _headers(name: str) -> dict[str, str]:
    """Return the headers of a message of ours."""
    return {"lang": "py", "task": ACCEPT_TASK, "id": name}


def _describe(message: Any) -> str:
    """Return how a body that cannot be read is serialized; of any other, what its message is."""
    try:
        message.payload  # noqa: B018 decodes
    except Exception:  # whatever the decoder of its content type raises
        return str((message.errors and message.headers.get("compression")) or message.content_type)
    return REFUSED if "task" in message.headers else NO_MESSAGE


def _raw_body(message: Any) -> bytes:
    body: str | bytes = message.body
    return body.encode(errors="surrogatepass") if isinstance(body, str) else bytes(body or b"")


def _wrap(content_type: str, error: BaseException, body: bytes) -> str:
    """Return the arguments of a task that keeps the body."""
    parts = [content_type, type(error).__name__, b64encode(body).decode()]
    return json.dumps([[], {UNDECODED: parts}, {}])


def _check_envelope(message: Any) -> None:
    """Raise an error for what kombu cannot take for a message."""
    properties = message["properties"]
    place, encoding = properties["delivery_info"], properties.get("body_encoding")
    texts = properties["delivery_tag"], place["exchange"], place["routing_key"], message.get("body") or ""
    "".join(texts).encode()  # JSON may have halves of characters, which no Redis takes
    if encoding not in ENCODINGS or not isinstance(message.get("headers") or {}, dict):
        raise TypeError("expected headers by name, and a body as it is or in base64")
    if not is_shallow(message):
        raise RecursionError("expected fewer levels")  # what is read here may be too deep to be written again
    if encoding:
        b64decode(texts[-1])
