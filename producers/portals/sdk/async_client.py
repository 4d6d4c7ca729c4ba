"""`AsyncRelations`: the HTTP client for code that awaits, with the same steps as `Relations`."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from producers.portals.sdk.client import CLOCK, make_steps
from producers.portals.sdk.http_transport import AsyncHttpTransport
from producers.portals.sdk.protocol import Attempt, Ids, Jobs, Options, Sent, Step
from producers.portals.serializers import BatchDict, JobDict
from worker.contract import Change, MessageDict
from worker.errors import RelationsError

Result = TypeVar("Result")


class AsyncRelations:
    """A client like `Relations`, over HTTP only, for the event loop that uses it first.

    >>> async def link() -> Sent:
    ...     async with AsyncRelations(url, key, account="acme") as relations:
    ...         return await relations.create("estate:address:buyer", 501, [9001, 9002])
    >>> asyncio.run(link()).state
    'queued'
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        account: str = "",
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport = AsyncHttpTransport(url, key, transport)
        self._steps, self._sleep = make_steps(account, timeout, CLOCK, random.random), sleep

    async def create(
        self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]
    ) -> Sent:
        """Create the relations."""
        return await self._run(self._steps.send_one("create", relationtype, parentid, childid, options))

    async def modify(
        self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]
    ) -> Sent:
        """Set this `relationinfo` of the relations."""
        return await self._run(self._steps.send_one("modify", relationtype, parentid, childid, options))

    async def delete(
        self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]
    ) -> Sent:
        """Delete the relations."""
        return await self._run(self._steps.send_one("delete", relationtype, parentid, childid, options))

    async def replace(
        self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]
    ) -> Sent:
        """Let one record have exactly the records of the other side, which is a list."""
        return await self._run(self._steps.send_one("replace", relationtype, parentid, childid, options))

    async def send(self, changes: Iterable[Change | MessageDict]) -> list[Sent]:
        """Send many changes, 1,000 at a time; each 1,000 are accepted per account or not at all."""
        return await self._run(self._steps.send(changes))

    async def job(self, job_id: str) -> JobDict:
        """Return one job as it is now."""
        return await self._run(self._steps.get_job(job_id))

    async def wait(self, ids: Jobs, *, timeout: float = 60.0) -> list[JobDict]:
        """Return the jobs, given by id or as they were sent, once all are done.

        Those that are no longer kept have ended, and are left out. Raises TimeoutError that names those that
        are not done, or Unavailable if nothing answers by then.
        """
        return await self._run(self._steps.wait(ids, timeout=timeout))

    async def batch(self, account: str, label: str) -> BatchDict:
        """Count the changes with this label by state: all are done when none is `open`."""
        return await self._run(self._steps.get_batch(account, label))

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, steps: Generator[Step, Any, Result]) -> Result:
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._perform(step)
                except RelationsError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _perform(self, step: Step) -> Any:
        if isinstance(step, Attempt):
            return await self._transport.attempt(step)
        await self._sleep(step.seconds)
        return None
