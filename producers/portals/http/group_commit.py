"""Group commit: requests that arrive together share one write to the store, and each waits for its own answer.

Knows no HTTP; what a write is, and how it is run beside the event loop, are handed in.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from worker.contract import Change
from worker.errors import BacklogFull, RelationsError, Unavailable
from worker.ports import Receipt

MOST: Final = (
    1000  # changes in one write, so that none blocks the server for long; a single request may bring more
)


class Accept(Protocol):
    """`Intake.accept`."""

    def __call__(self, changes: Sequence[Change], *, redelivered: bool) -> list[Receipt]:
        """Receipts for the changes of one account, all or none."""


class Lane(NamedTuple):
    """What may share a write."""

    account: str
    redelivered: bool


@dataclass(frozen=True, slots=True)
class Member:
    """The changes of one request, and where its answer goes."""

    changes: Sequence[Change]
    answer: asyncio.Future[list[Receipt]]

    def tell(self, answer: "list[Receipt] | Exception") -> None:
        """Wake who waits, unless they have gone."""
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


Answers = list[list[Receipt] | Exception]
Run = Callable[[Callable[[], Answers]], Awaitable[Answers]]


class Group:
    """One write at a time per lane; whoever comes meanwhile goes into the next one, in the order of arrival."""

    def __init__(self, accept: Accept, *, run: Run, most: int = MOST) -> None:
        self._accept, self._run, self._most = accept, run, most
        self._waiting: dict[Lane, deque[Member]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly

    async def accept(
        self, account: str, changes: Sequence[Change], *, redelivered: bool = False
    ) -> list[Receipt]:
        """As `Intake.accept`, for one account; faults have positions in `changes`."""
        lane, member = Lane(account, redelivered), Member(changes, asyncio.get_running_loop().create_future())
        if lane in self._waiting:
            self._waiting[lane].append(member)
        else:
            self._waiting[lane] = deque([member])
            task = asyncio.create_task(self._work(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await member.answer

    async def _work(self, lane: Lane) -> None:
        waiting = self._waiting[lane]
        while waiting:
            members = _first(waiting, self._most)
            try:
                answers = await self._run(lambda: self._write(members, redelivered=lane.redelivered))  # noqa: B023 it ends within the turn
            except (
                Exception
            ) as error:  # a bug: loud for everyone who waits, and no reason to leave the others waiting
                answers = [error] * len(members)
            for member, answer in zip(members, answers, strict=True):
                member.tell(answer)
        del self._waiting[lane]

    def _write(self, members: Sequence[Member], *, redelivered: bool) -> Answers:
        """One answer per member. What was refused together is tried one by one, so that one client's fault is never another's."""
        if len(members) > 1:
            together = self._try(
                [change for member in members for change in member.changes], redelivered=redelivered
            )
            if isinstance(together, list):
                rest = iter(together)
                return [[next(rest) for _ in member.changes] for member in members]
            if isinstance(together, Unavailable) and not isinstance(together, BacklogFull):
                return [together] * len(members)
        return [self._try(member.changes, redelivered=redelivered) for member in members]

    def _try(self, changes: Sequence[Change], *, redelivered: bool) -> list[Receipt] | RelationsError:
        try:
            return self._accept(changes, redelivered=redelivered)
        except RelationsError as error:
            return error


def _first(waiting: deque[Member], most: int) -> list[Member]:
    """The members that go next: at least one, and no more changes than `most` unless the first alone has them."""
    members = [waiting.popleft()]
    size = len(members[0].changes)
    while waiting and size + len(waiting[0].changes) <= most:
        size += len(waiting[0].changes)
        members.append(waiting.popleft())
    return members
