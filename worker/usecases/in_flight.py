"""What a flush has in hand: the requests of a round, and whether its next batch may join them. Pure.

While requests are on their way, only a whole batch is taken (R11, R21), so nothing is sent apart that would
have travelled together a moment later. One that conflicts with what is in hand waits until that is settled.
"""

from collections.abc import Container
from typing import Literal, NamedTuple

from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Reply, Request
from worker.planner.plan import Plan
from worker.planner.suspicion import OperationGroup
from worker.ports.pace import Grant
from worker.ports.requests import RequestRecord
from worker.ports.work import CLOCK_ERROR_US, WorkBatch
from worker.usecases.flush_context import FlushPolicy

READ_AHEAD_FOR = 2.0  # seconds after which a flush takes no further batch: other accounts have their turn
Purpose = Literal["work", "trial", "probe"]
"""What a request is for; a failed trial is the doing of the relations in it, a probe is about the account."""


class SentRequest(NamedTuple):
    """A request on its way: its place in the plan, and what was known when it began.

    `signed` is in µs, `troubles` counts the failures that the flush had seen, `clock_corrected` is whether it
    was signed by the API's clock.
    """

    place: int
    id: str
    request: Request
    purpose: Purpose
    group: OperationGroup
    grant: Grant
    signed: int
    correlations: tuple[str, ...]
    troubles: int
    clock_corrected: bool

    def record(self, reply: Reply) -> RequestRecord:
        """Return the record of the request, and of its answer."""
        return RequestRecord.from_reply(
            self.id,
            self.request.actions,
            reply,
            kind="probe" if self.purpose == "probe" else "changes",
            at=self.signed,
            correlations=self.correlations,
        )


class Round:
    """The requests of one group that are to be sent, at most `limit` of them at a time.

    `rest` is for how many seconds the flush rests when the round is over, None if it may plan the next.
    `slot_in` is in how many seconds the account has a slot for the next request, None if that waits for a
    reply.
    """

    def __init__(self, group: OperationGroup, *, limit: int) -> None:
        self.group, self.deletes_left = group, 0
        self.rest: float | None = None
        self.slot_in: float | None = None
        self._requests, self._after, self._limit = list[Request](), list[int](), limit
        self._begun, self._settled, self._is_over = 0, set[int](), False
        self._sent: dict[str, SentRequest] = {}

    def add(self, planned: Plan, *, deletes: int) -> None:
        """Add the requests of a plan, with so many deletes; none conflicts with one that was added before."""
        before = len(self._requests)
        self._requests += planned.requests
        self._after += [before + count if count else 0 for count in planned.after]
        self.deletes_left += deletes

    @property
    def is_flying(self) -> bool:
        """Whether a request is on its way."""
        return bool(self._sent)

    @property
    def is_settled(self) -> bool:
        """Whether the outcomes of all requests that began are written."""
        return len(self._settled) == self._begun

    @property
    def is_at_last(self) -> bool:
        """Whether only the last request is left, and nothing is to be done before its reply is there."""
        return self.is_settled and self._begun == len(self._requests) - 1

    @property
    def has_begun(self) -> bool:
        """Whether every request has begun, and more may be added."""
        return self._begun == len(self._requests) and not self._is_over

    def next_request(self) -> tuple[int, Request] | None:
        """Return the request that may begin now, with its place; None if none may."""
        place = self._begun
        if self._is_over or place == len(self._requests) or len(self._sent) >= self._limit:
            return None
        if not self._settled.issuperset(range(self._after[place])):
            return None
        return place, self._requests[place]

    def sent(self, sent: SentRequest) -> None:
        """Note that a request is on its way."""
        self._begun += 1
        self._sent[sent.id] = sent
        self.deletes_left -= sent.request.deletes

    def answered(self, request_id: str) -> SentRequest:
        """Return the request whose reply is there; others may go in its place."""
        return self._sent.pop(request_id)

    def settled(self, sent: SentRequest) -> None:
        """Note that the outcomes of a request are written: what conflicts with it may go."""
        self._settled.add(sent.place)

    def end(self, rest: float | None = None) -> None:
        """Begin no more requests; let the flush rest for so many seconds, or else plan again."""
        self._is_over = True
        if rest is not None:
            self.rest = max(rest, self.rest or 0.0)


class ReadAhead:
    """Whether a flush goes on to its next batch: while requests are on their way, or between its rounds.

    Times are by the monotonic clock.
    """

    def __init__(self, policy: FlushPolicy, *, started: float) -> None:
        self._policy, self._until, self._waiting = policy, started + READ_AHEAD_FOR, 0
        self._has_conflicted = False

    def note(self, work: WorkBatch) -> None:
        """Note how much waits behind the batch that was read; nothing may follow one that is not plain."""
        self._waiting = work.waiting if _is_plain(work) else 0

    def stop(self) -> None:
        """Take no further batch."""
        self._waiting = 0

    def is_wanted(self, *, now: float, between_rounds: bool = False) -> bool:
        """Return whether another whole batch waits, and the flush has time for it.

        Where one has conflicted, the next ones probably would: they are read when nothing is on its way.
        """
        is_due = self._waiting >= self._policy.max_batch and now < self._until
        return is_due and self._has_conflicted is between_rounds

    def may_join(self, work: WorkBatch, in_progress: Container[Relation]) -> bool:
        """Return whether a further batch goes with what is in hand; else it stays in the queue."""
        if not _is_plain(work) or self._is_early(work):
            self.stop()
            return False
        named = work.named
        may_share = self._has_conflicted or all(map(self._is_free, {relation.type for relation in named}))
        if may_share and not any(relation in in_progress for relation in named):
            return True
        self._waiting = 0 if self._has_conflicted else self._waiting + len(work.jobs)
        self._has_conflicted = True
        return False

    def _is_early(self, work: WorkBatch) -> bool:
        """Return whether the batch is still being collected, by the age of its first change."""
        if not work.jobs:
            return False
        age = work.now - work.jobs[0].accepted_at  # far below 0 where the store's clock was set back
        return -CLOCK_ERROR_US <= age < self._policy.window * SECOND

    def _is_free(self, relation_type: str) -> bool:
        """Return whether relations of the type conflict with themselves only."""
        return self._policy.order(relation_type) == "free" and not self._policy.guarded(relation_type)


def _is_plain(work: WorkBatch) -> bool:
    """Return whether the batch has new changes only, and nothing that died or has to be looked up."""
    return not (work.due or work.begun or work.recovered or work.condemned or work.small or work.look_ups)
