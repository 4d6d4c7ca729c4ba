"""An account's pace, what pauses it, and why something waits."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypedDict

from worker.contract import Relation
from worker.planner.actions import ErrorClass, Reply, Verdict

CLOCK_SKEW_PAUSE: Final = 60  # seconds for which an account rests whose clock disagrees with the API's

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


WaitReason = Literal[
    "pause",
    "brake",
    "credentials",
    "clock",
    "settings",
    "observe",
    "breaker",
    "pace",
    "window",
    "turn",
    "reference",
    "guard",
    "doubt",
    "suspicion",
    "backoff",
]
"""Why something waits.

Of an account: paused by hand, by the brake, for its credentials or its clock; not in the settings; only
observing; behind an open breaker; for its pace, or a Retry-After. Of a change in the inbox: its window, its
turn, or a record that was not found. Of a relation: the guard (R12), a write in doubt (R14), suspicion (R24),
backoff after an error.
"""
ACCOUNT_REASONS: Final[tuple[WaitReason, ...]] = (
    *("pause", "brake", "credentials", "clock", "settings", "observe", "breaker", "pace"),
)
"""Those of an account: nothing of it is sent."""


class Waiting(NamedTuple):
    """Why something waits, and until when (µs; 0: until somebody acts, or it is its turn).

    `relation` is the one that waits, if the reason is not its account's; `error` the class of the refusal
    that it would fail with in the end.
    """

    reason: WaitReason
    until: int
    message: str
    relation: Relation | None = None
    error: str = ""


class Pause(NamedTuple):
    """Why an account is stopped, since when, and until when (µs; 0: until an operator resumes it).

    `fingerprint` stands for the credentials that the API rejected, if that is the reason.
    """

    reason: str
    detail: str = ""
    since: int = 0
    until: int = 0
    fingerprint: str = ""

    @classmethod
    def after_reply(
        cls, reply: Reply, *, now: int, fingerprint: str, clock_corrected: bool
    ) -> "Pause | None":
        """Return the pause that a reply calls for (R18), if any.

        Rejected credentials pause until there are others; a signature that comes too late does so for a
        minute, but only if it was signed by the API's time (`clock_corrected`), or that is not known.
        """
        for result in reply.results:
            if result.verdict is not Verdict.REJECTED:
                continue
            detail = f"{result.code}: {result.message}"
            if result.error is ErrorClass.CREDENTIALS:
                return cls("credentials", detail, fingerprint=fingerprint)
            if result.error is ErrorClass.CLOCK and (clock_corrected or reply.skew is None):
                skew = f"; the API's clock is {reply.skew:+.0f} s from ours" if reply.skew is not None else ""
                return cls("clock", detail + skew, until=now + CLOCK_SKEW_PAUSE * 1_000_000)
        return None

    def is_over(self, now: int) -> bool:
        """Return whether its time is over (µs)."""
        return 0 < self.until <= now

    def ends_with(self, fingerprint: str) -> bool:
        """Return whether it is about rejected credentials, and these are others (R20)."""
        return (
            self.reason == "credentials"
            and bool(self.fingerprint and fingerprint)
            and self.fingerprint != fingerprint
        )
