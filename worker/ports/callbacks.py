"""What callbacks need of a store: labels that are watched, and messages that are kept until they are told.

A callback is a URL of the settings. Its *message* says that every change of a batch has ended, and how.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from worker.ports.queries import CursorPage

MessageState = Literal["waiting", "delivered", "abandoned"]


class BatchCounts(NamedTuple):
    """The changes of a batch by what became of them."""

    accepted: int = 0
    succeeded: int = 0
    superseded: int = 0
    failed: int = 0

    @property
    def open(self) -> int:
        """How many have not ended."""
        return self.accepted - self.succeeded - self.superseded - self.failed


class Watch(NamedTuple):
    """A batch label that callbacks are to be told of, as it is now.

    The last change with it came at `accepted_at` (µs), when these `callbacks` were to be told; `reported` has
    the counts that each was told last. `version` is what is stored of it, for which a decision is made.
    """

    label: str
    accepted_at: int
    callbacks: tuple[str, ...]
    reported: Mapping[str, BatchCounts]
    counts: BatchCounts
    version: tuple[str, str] = ("", "")


class CallbackMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message of a callback, and how far it is; times in µs, 0 for not yet.

    Its id is the `webhook-id` of each attempt. `attempts` are those of which it is known what came of them,
    `status` and `error` are of the last one.
    """

    id: str
    account: str
    callback: str
    batch: str
    counts: BatchCounts
    made_at: int
    state: MessageState = "waiting"
    attempts: int = 0
    tried_at: int = 0
    next_at: int = 0
    ended_at: int = 0
    status: int = 0
    error: str = ""


class DueCallbacks(NamedTuple):
    """What is to be done for an account at `now` (µs): labels to look at, and callbacks with due messages."""

    now: int
    watches: tuple[Watch, ...]
    callbacks: frozenset[str]


class CallbackAttempt(NamedTuple):
    """What came of sending a message: an HTTP status or an error, and how many seconds it asks to wait."""

    status: int = 0
    error: str = ""
    retry_after: float = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has it."""
        return 200 <= self.status < 300

    def __str__(self) -> str:
        return self.error or f"HTTP {self.status}"


class CallbackStore(Protocol):
    """Keeps what callbacks are to be told; each call is about one account."""

    def watch(self, account: str, labels: Mapping[str, tuple[Collection[str], float]]) -> None:
        """Let labels of changes that come be looked at in so many seconds, for these callbacks."""

    def due_callbacks(self, account: str, names: Collection[str], *, limit: int) -> DueCallbacks:
        """Return what is to be done now for these callbacks, some of the labels at a time."""

    def settle_watch(
        self,
        account: str,
        watch: Watch,
        *,
        look_at: int | None,
        messages: Sequence[CallbackMessage] = (),
        reported: Mapping[str, BatchCounts] | None = None,
    ) -> bool:
        """Keep messages, what was told by them, and when (µs) to look at the label again; None forgets it.

        Nothing is written, and False returned, if since it was read another change with the label came, or
        somebody else kept messages.
        """

    def claim_message(self, account: str, callback: str, *, seconds: float) -> CallbackMessage | None:
        """Return a due message of a callback; it is due again in so many seconds if nobody writes of it."""

    def put_message(self, before: CallbackMessage, after: CallbackMessage) -> bool:
        """Write what became of a message; False, with nothing written, if it is not as before any more."""

    def get_message(self, message_id: str) -> CallbackMessage | None:
        """Return one message."""

    def list_messages(
        self, account: str, *, limit: int = 50, cursor: str = ""
    ) -> CursorPage[CallbackMessage]:
        """Return the messages of an account, newest first."""

    def count_waiting(self, account: str, callback: str) -> int:
        """Return how many messages of a callback wait to be told."""

    def now(self) -> int:
        """Return the store's time (µs)."""
