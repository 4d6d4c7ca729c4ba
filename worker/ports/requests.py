"""Requests to the API: what sends them, and the record of what was sent and answered."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Final, Literal, Protocol

import msgspec

from worker.planner.actions import Action, Reply, Request, Search


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

RequestKind = Literal["changes", "probe", "look_up", "replace", "drift"]
"""What a request is for.

Carries changes out, with the reads that takes · one read that tries whether the API answers · finds records
that changes name by references · reads what is there of a side that a change replaces · compares what was
confirmed with the CRM.
"""
OBSERVED: Final = "observed"
"""The answer to a request that was not sent, because its account only observes."""


UNSETTLED: Final = "its worker noted no answer: it ended, or lost the account to another one"
"""The message of a request that was begun, and that nobody knows the answer of."""


class SearchRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A search that was sent: by how many values of a field, and how many records its answer had.

    The values are not kept, because they may be of persons.
    """

    module: str
    field: str
    values: int
    found: int = 0

    def __str__(self) -> str:
        """Return what it searches by, as a reference begins: `address:email`."""
        return f"{self.module}:{self.field}"


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was sent and answered, without secrets, for `relations requests` and for explaining a relation.

    A request has `actions` or `searches`; `answers` has (verdict, code, message) for each of them.
    `correlations` are the first few ids of the calls behind its changes. `kind` is a RequestKind, or one that
    a later release knows.
    """

    id: str
    at: int
    status: int
    seconds: float
    message: str
    actions: tuple[Action, ...]
    answers: tuple[tuple[str, int, str], ...]
    correlations: tuple[str, ...] = ()
    kind: str = "changes"
    searches: tuple[SearchRecord, ...] = ()

    @classmethod
    def from_reply(
        cls,
        request_id: str,
        asked: Sequence[Action | Search],
        reply: Reply,
        *,
        kind: RequestKind,
        at: int,
        correlations: tuple[str, ...],
    ) -> "RequestRecord":
        """Return the record of a request that was sent, signed `at` (µs)."""
        return cls(
            id=request_id,
            at=at,
            status=reply.status,
            seconds=reply.seconds,
            message=reply.message,
            actions=tuple([each for each in asked if isinstance(each, Action)]),
            answers=tuple([(str(each.verdict), each.code, each.message) for each in reply.results]),
            correlations=correlations,
            kind=kind,
            searches=tuple(
                [
                    SearchRecord(each.module, each.field, len(each.values), len(result.found))
                    for each, result in zip(asked, reply.results, strict=True)
                    if isinstance(each, Search)
                ]
            ),
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
