"""Why something waits: the pause of an account, and all else. Values only."""

from typing import Final, Literal, NamedTuple

from worker.contract import Relation
from worker.planner.actions import ErrorClass, Reply, Verdict

CLOCK_SKEW_PAUSE: Final = 60  # seconds for which an account rests whose clock disagrees with the API's
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
