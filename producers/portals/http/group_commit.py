"""Group commit: requests that arrive together share one write to the store, and each gets its own answer.

Knows no HTTP; what a write is, and how it is run beside the event loop, are passed in.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import Final

from worker.contract import Change
from worker.errors import BacklogFull, RelationsError, Unavailable
from worker.ports.store import Receipt

MAX_CHANGES: Final = 1000  # of one write, so that none blocks the server for long; one request may bring more
QUIET_TURNS: Final = 4  # of the event loop, in which nobody joins, before a write begins


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """The changes of one request, and the future that its handler awaits."""

    changes: Sequence[Change]
    future: asyncio.Future[list[Receipt]]

    def resolve(self, result: "list[Receipt] | Exception") -> None:
        """Wake the handler, unless its client has gone."""
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


Accept = Callable[..., list[Receipt]]  # `Intake.accept`
Results = list[list[Receipt] | Exception]  # one per request
Run = Callable[[Callable[[], Results]], Awaitable[Results]]


class CommitGroup:
    """Makes one write at a time per account; requests that come meanwhile share the next, in their order."""

    def __init__(self, accept: Accept, *, run: Run, max_changes: int = MAX_CHANGES) -> None:
        self._accept, self._run, self._max_changes = accept, run, max_changes
        self._queues: dict[str, deque[PendingRequest]] = {}  # by account
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly

    async def accept(self, account: str, changes: Sequence[Change]) -> list[Receipt]:
        """Do as `Intake.accept` for one account; paths of faults begin with the position in `changes`."""
        request = PendingRequest(changes, asyncio.get_running_loop().create_future())
        if account in self._queues:
            self._queues[account].append(request)
        else:
            self._queues[account] = deque([request])
            task = asyncio.create_task(self._write_queue(account))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await request.future

    async def _write_queue(self, account: str) -> None:
        queue = self._queues[account]
        while queue:
            await self._gather(queue)
            requests = _take_group(queue, self._max_changes)
            try:
                results = await self._run(partial(self._write, requests))
            except Exception as error:  # a bug: everybody in this write learns of it, and the queue goes on
                results = [error] * len(requests)
            for request, result in zip(requests, results, strict=True):
                request.resolve(result)
        del self._queues[account]

    async def _gather(self, queue: Sized) -> None:
        """Return when no request has joined for some turns of the event loop, or enough wait for a write.

        Requests of which the bytes are here already share it: to change threads and to ask Redis costs as
        much as to read one.
        """
        size = quiet = 0
        while quiet < QUIET_TURNS and size < self._max_changes:
            quiet = quiet + 1 if len(queue) == size else 0
            size = len(queue)
            await asyncio.sleep(0)

    def _write(self, requests: Sequence[PendingRequest]) -> Results:
        """Return one result per request.

        What was refused together is tried one by one, so that one client's fault is never another's.
        """
        if len(requests) > 1:
            together = [change for request in requests for change in request.changes]
            result = self._try(together)
            if isinstance(result, list):
                receipts = iter(result)
                return [[next(receipts) for _ in request.changes] for request in requests]
            if isinstance(result, Unavailable) and not isinstance(result, BacklogFull):
                return [result] * len(requests)
        return [self._try(request.changes) for request in requests]

    def _try(self, changes: Sequence[Change]) -> list[Receipt] | RelationsError:
        try:
            return self._accept(changes)
        except RelationsError as error:
            return error


def _take_group(queue: deque[PendingRequest], max_changes: int) -> list[PendingRequest]:
    """Take the requests of the next write: the first, and as many more as `max_changes` allows."""
    requests = [queue.popleft()]
    size = len(requests[0].changes)
    while queue and size + len(queue[0].changes) <= max_changes:
        size += len(queue[0].changes)
        requests.append(queue.popleft())
    return requests
