"""Messages that cannot be read: each becomes one of `relations.accept`, which keeps what came for operators.

So it is a task that keeps it, with its tries and redeliveries, where Celery or kombu would drop the message
or end the worker.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import uuid4

from worker.celery_config import ACCEPT_TASK

UNDECODED: Final = "relations.undecoded"  # the argument that has content type, error and body (base64)
NO_MESSAGE: Final = "no message of Celery"
PRIORITY: Final = "\x06"  # kombu's, between a queue's name and its priority
ENCODINGS: Final = (None, "base64")  # of a body within a Redis


class UndecodedBody(NamedTuple):
    """A body as the worker received it, what it is serialized as, and the error of reading it."""

    content_type: str
    reason: str
    body: bytes


def wrap_undecodable(message: Any) -> None:
    """Make a body that cannot be decoded, or is not accepted, an argument of the message's task."""
    try:
        message.payload  # noqa: B018 decodes
    except Exception as error:  # whatever the decoder of its content type raises
        _replace_body(message, _wrap(str(message.content_type), error, _raw_body(message)))
        message.headers = {**message.headers, "argsrepr": "", "kwargsrepr": ""}  # no body in a log


def wrap_unnamed(message: Any) -> None:
    """Make a message that names no task, as kombu alone sends it, one of ours with its body as argument."""
    tag = message.delivery_tag
    _replace_body(message, _wrap(NO_MESSAGE, KeyError("task"), _raw_body(message)))
    message.headers = _headers(tag if isinstance(tag, str) else str(uuid4()))


def wrap_foreign(item: bytes, key: bytes) -> bytes:
    """Return what stood in a queue on a Redis; in a message of ours where it is none of Celery's.

    Whoever else writes there, by mistake or with another library, would end the worker.
    """
    try:
        _check_envelope(json.loads(item.decode()))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        name, queue = str(uuid4()), key.decode().partition(PRIORITY)[0]
        properties = {"delivery_tag": name, "delivery_info": {"exchange": "", "routing_key": queue}}
        envelope = {
            "body": b64encode(_wrap(NO_MESSAGE, error, item).encode()).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": _headers(name),
            "properties": {**properties, "body_encoding": "base64", "correlation_id": name},
        }
        return json.dumps(envelope).encode()
    return item


def read_undecoded(fields: Mapping[str, object]) -> UndecodedBody | None:
    """Return the body that was wrapped as named arguments; None for any other, whatever they are called."""
    match fields.get(UNDECODED):
        case [str(content_type), str(reason), str(text)] if len(fields) == 1:
            with suppress(ValueError):
                return UndecodedBody(content_type, reason, b64decode(text, validate=True))
    return None


def _headers(name: str) -> dict[str, str]:
    """Return the headers of a message of ours."""
    return {"lang": "py", "task": ACCEPT_TASK, "id": name}


def _raw_body(message: Any) -> bytes:
    body: str | bytes = message.body
    return body.encode(errors="surrogateescape") if isinstance(body, str) else bytes(body or b"")


def _replace_body(message: Any, text: str) -> None:
    message.body, message._decoded_cache = text, None
    message.content_type, message.content_encoding = "application/json", "utf-8"


def _wrap(content_type: str, error: Exception, body: bytes) -> str:
    """Return the arguments of a task that keeps the body."""
    parts = [content_type, type(error).__name__, b64encode(body).decode()]
    return json.dumps([[], {UNDECODED: parts}, {}])


def _check_envelope(message: Any) -> None:
    """Raise ValueError, TypeError or KeyError for what kombu cannot take for a message."""
    properties = message["properties"]
    place, encoding = properties["delivery_info"], properties.get("body_encoding")
    texts = properties["delivery_tag"], place["exchange"], place["routing_key"], message.get("body") or ""
    if not all(isinstance(each, str) for each in texts) or encoding not in ENCODINGS:
        raise TypeError("expected texts")
    if not isinstance(message.get("headers") or {}, dict):
        raise TypeError("expected headers by name")
    if encoding:
        b64decode(texts[-1])
