"""What a flush needs besides the store: the API, its pace, a clock, a renewed lease, and log events."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypedDict

from worker.planner.actions import Action, Reply
from worker.planner.search import Search
from worker.ports.work import Lease


class Api(Protocol):
    """The API with one account's credentials."""

    def send(self, actions: Sequence[Action | Search], *, request_id: str, now: float) -> Reply:
        """Send one request, signed at `now` (seconds); return a result per action, and never raise."""


class Sender(Protocol):
    """Sends requests of one account while its caller goes on."""

    def start(
        self, actions: Sequence[Action | Search], *, request_id: str, now: float, is_alone: bool = False
    ) -> None:
        """Let `Api.send` begin; `is_alone`: its caller does nothing else but wait for the reply."""

    def next(self, timeout: float | None = None) -> tuple[str, Reply] | None:
        """Wait for the reply to any request that was started; return the request's id, and the reply.

        None if so many seconds brought none.
        """


SenderOpener = Callable[[Api, int], AbstractContextManager[Sender]]
"""Opens a sender of so many requests at a time; at the end of the block none is on its way."""


Feedback = Literal["ok", "alive", "slow", "failed", "suspect"]
"""What a reply shows about its account.

Answered · answered to a harmless read, so that what failed just before was not the account's · 429 · no
usable answer (transport, timeout, 5xx) · none either, but that is the doing of the relations in it.
"""


Reason = Literal["", "pace", "retry_after", "breaker"]
"""Why a grant makes its holder wait or come back."""


class BreakerChange(NamedTuple):
    """What a report did to the breaker; one that opened lets a probe through in `probe_in` seconds."""

    breaker: Literal["", "opened", "closed"] = ""
    probe_in: float = 0.0


class Pace(TypedDict):
    """An account's pace for operators: times in seconds since the epoch, 0 for never.

    `factor` is what remains of its rate, `open_until` when the next probe may go.
    """

    factor: float
    failures: int
    breaker: Literal["closed", "open", "half_open"]
    open_until: float
    not_before: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The answer to `book`: a booked slot `wait` seconds from now, or, not booked, when to come back.

    `factor` scales the account's rate and its `max_actions`; with `probe` only a read may be sent;
    `suspects_wait` is for how many seconds suspected relations have to wait. With `troubled` a request failed
    within the last ten minutes. `slot` and `cost` (µs) name what was booked, for a refund.
    """

    booked: bool
    wait: float = 0.0
    factor: float = 1.0
    failures: int = 0
    probe: bool = False
    suspects_wait: float = 0.0
    troubled: bool = False
    reason: Reason = ""
    slot: int = 0
    cost: int = 0

    def needs_report(self, feedback: Feedback) -> bool:
        """Return whether a report changes anything: a healthy account costs one round trip per request."""
        return feedback not in ("ok", "alive") or self.factor < 1 or self.failures > 0


class Limiter(Protocol):
    """Decides when the next request of an account may go (R19, R20)."""

    def book(self, account: str, *, rate: float, burst: int, max_wait: float) -> Grant:
        """Book the next slot within `max_wait` seconds; if there is none, say when to come back."""

    def peek(self, account: str, *, rate: float, burst: int, max_wait: float, now: float) -> Grant:
        """Return what `book` would answer at `now` (seconds since the epoch); nothing is booked."""

    def report(
        self, account: str, feedback: Feedback, *, retry_after: float = 0.0, reason: str = ""
    ) -> BreakerChange:
        """Let a reply change the pace, if `Grant.needs_report`; return what it did to the breaker.

        `retry_after` seconds stop the account; after the feedback `suspect` only its suspected relations.
        """

    def refund(self, account: str, grant: Grant) -> bool:
        """Give a booked slot back when no request follows."""


class Clock(Protocol):
    """A monotonic clock that can also wait, as the module `time`."""

    def monotonic(self) -> float:
        """Return the seconds since some fixed point."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


LeaseKeeper = Callable[[Lease], AbstractContextManager[object]]
"""Renews a lease in the background until the block ends."""

Wake = Callable[[str, float], None]
"""Sends a wake-up: the account, and in how many seconds it is due."""


class EventSink(Protocol):
    """Where use cases report what happened: a past-tense dotted event with flat fields."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Write the event."""
