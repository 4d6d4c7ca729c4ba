"""What was sent to the API and answered. Values only."""

from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from worker.planner.actions import Action, Reply, Request

OBSERVED: Final = "observed"
"""The answer to a request that was not sent, because its account only observes."""


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was sent and answered, without secrets, for `relations requests` and for explaining a relation.

    `answers` has (verdict, code, message) per action, `correlations` the first few ids of the calls behind
    its changes.
    """

    id: str
    at: int
    status: int
    seconds: float
    message: str
    actions: tuple[Action, ...]
    answers: tuple[tuple[str, int, str], ...]
    correlations: tuple[str, ...] = ()

    @classmethod
    def from_reply(
        cls, request_id: str, request: Request, reply: Reply, *, at: int, correlations: tuple[str, ...]
    ) -> "RequestRecord":
        """Return the record of a request that was sent, signed `at` (µs)."""
        return cls(
            id=request_id,
            at=at,
            status=reply.status,
            seconds=reply.seconds,
            message=reply.message,
            actions=request.actions,
            answers=tuple((result.verdict.value, result.code, result.message) for result in reply.results),
            correlations=correlations,
        )

    @classmethod
    def for_dry_run(cls, request: Request, *, at: int, correlations: tuple[str, ...]) -> "RequestRecord":
        """Return the record of a request that an observing account would send; equal ones have one id."""
        digest = blake2b(msgspec.json.encode(request), digest_size=8).hexdigest()
        answers = ((OBSERVED, 0, ""),) * len(request.actions)
        return cls(
            id=f"{OBSERVED}-{digest}",
            at=at,
            status=0,
            seconds=0.0,
            message="",
            actions=request.actions,
            answers=answers,
            correlations=correlations,
        )

    @property
    def observed(self) -> bool:
        """Whether it was not sent, because the account only observes."""
        return bool(self.answers) and self.answers[0][0] == OBSERVED


class RequestPage(NamedTuple):
    """Requests, newest first, and the cursor of the next page (empty: no more)."""

    requests: tuple[RequestRecord, ...]
    next: str
