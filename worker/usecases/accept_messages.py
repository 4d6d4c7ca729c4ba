"""The use case: accept messages of any shape from a sender who waits for no answer, such as a Celery client.

What cannot be read is kept as a failed job, because no sender waits who could correct it.
"""

import json
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from worker.contract import Change, from_message
from worker.contract.quoting import quote
from worker.contract.values import to_plain
from worker.errors import Fault, InvalidChange
from worker.ports.store import Receipt, UnreadableMessage
from worker.usecases.intake import Intake

MAX_LABEL = 200  # characters of a name that a malformed message may give itself


def accept_messages(
    intake: Intake, messages: Sequence[object], *, message_id: str, source: str, correlation: str
) -> None:
    """Accept the changes among the messages and keep the rest; raise Unavailable when time can cure it.

    A message without an event id or a source gets `message_id` with its position, and `source`: delivered
    again, it is the same job (R1).
    """
    event_ids = [f"{message_id}:{position}" for position in range(len(messages))]
    parsed = [
        _parse(message, {"event_id": event_id, "source": source}, correlation)
        for message, event_id in zip(messages, event_ids, strict=True)
    ]
    results = iter(intake.accept_valid([change for change in parsed if isinstance(change, Change)]))
    for message, found, event_id in zip(messages, parsed, event_ids, strict=True):
        result = next(results) if isinstance(found, Change) else found
        if not isinstance(result, Receipt):
            intake.reject(_unreadable(message, result, event_id, source))


def keep_undecoded(
    intake: Intake, body: bytes, *, content_type: str, reason: str, message_id: str, source: str
) -> None:
    """Keep a message whose body could not be decoded; raise Unavailable when time can cure it."""
    fault = f"expected a message in JSON, got {quote(content_type)} ({reason}); set task_serializer='json'"
    intake.reject(UnreadableMessage("", source, f"{message_id}:0", (fault,), body))


def _parse(message: object, defaults: Mapping[str, str], correlation: str) -> Change | tuple[Fault, ...]:
    """Return the change, or everything wrong with it."""
    if isinstance(message, Mapping):
        message = {**defaults, **{name: value for name, value in message.items() if value is not None}}
    try:
        return replace(from_message(message).change, correlation=correlation)
    except InvalidChange as error:
        return error.faults


def _unreadable(message: object, faults: Sequence[Fault], event_id: str, source: str) -> UnreadableMessage:
    """Return the message as it is kept: under its own account, source and event id where they are usable."""
    fields = message if isinstance(message, Mapping) else {}
    labels = {name: _label(fields.get(name)) for name in ("account", "source", "event_id")}
    try:
        body = json.dumps(to_plain(message), default=str).encode()
    except (ValueError, RecursionError):
        body = b""
    return UnreadableMessage(
        labels["account"],
        labels["source"] or source,
        labels["event_id"] or event_id,
        tuple(map(str, faults)),
        body,
    )


def _label(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_LABEL and value.isprintable() else ""
