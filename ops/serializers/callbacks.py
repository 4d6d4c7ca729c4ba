"""Messages of callbacks: the counts that each tells, and how far it is."""

from typing import TypedDict

from ops.serializers import write_document
from worker.contract import write_instant, write_optional_instant
from worker.ports.callbacks import CallbackAttempt, CallbackMessage, MessageState
from worker.ports.queries import CursorPage


class CallbackMessageDict(TypedDict):
    """A message of a callback: the counts that it tells, and how far it is.

    `status` and `error` are of the last attempt, 0 and empty before it.
    """

    id: str
    account: str
    callback: str
    batch: str
    accepted: int
    succeeded: int
    superseded: int
    failed: int
    state: MessageState
    attempts: int
    made_at: str
    tried_at: str | None
    next_at: str | None
    ended_at: str | None
    status: int
    error: str


class CallbackMessagePageDict(TypedDict):
    """Messages of callbacks, newest first, and the cursor of the next page; null after the last."""

    messages: list[CallbackMessageDict]
    next: str | None


class CallbackTestDict(TypedDict):
    """Whether a callback took a message that nobody waits for: its HTTP status, or why there is none."""

    callback: str
    taken: bool
    status: int
    error: str


def serialize_message(message: CallbackMessage) -> CallbackMessageDict:
    """Return the message of a callback as JSON; times are RFC 3339, null while they are not there."""
    return write_document(
        CallbackMessageDict,
        message,
        **message.counts._asdict(),
        made_at=write_instant(message.made_at),
        tried_at=write_optional_instant(message.tried_at),
        next_at=write_optional_instant(message.next_at),
        ended_at=write_optional_instant(message.ended_at),
    )


def serialize_message_page(page: CursorPage[CallbackMessage]) -> CallbackMessagePageDict:
    """Return a page of messages as JSON."""
    return {"messages": list(map(serialize_message, page.entries)), "next": page.next or None}


def serialize_attempt(callback: str, attempt: CallbackAttempt) -> CallbackTestDict:
    """Return what came of trying a callback as JSON."""
    return {"callback": callback, "taken": attempt.is_taken, "status": attempt.status, "error": attempt.error}
