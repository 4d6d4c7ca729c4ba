"""`AsyncRelations`: the HTTP client for code that awaits. The same steps as those of `Relations`, word for word."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from producers.portals.sdk import http_transport
from producers.portals.sdk.client import CLOCK, steps
from producers.portals.sdk.protocol import Ids, Jobs, Options, Pause, Sent, Step
from producers.portals.serializers import BatchDict, JobDict
from worker.contract import Change, MessageDict
from worker.errors import RelationsError

Result = TypeVar("Result")


class AsyncRelations:
    """As `Relations`, over HTTP only.

    >>> async def link():
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
        self._http = httpx.AsyncClient(**http_transport.options(url, key), transport=transport)
        self._steps, self._sleep = steps(account, timeout, CLOCK, random.random), sleep

    async def create(
        self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]
    ) -> Sent:
        """Let the relations exist."""
        return await self._run(self._steps.one("create", relationtype, parentid, childid, options))

    async def modify(
        self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]
    ) -> Sent:
        """Let the relations carry this `relationinfo`."""
        return await self._run(self._steps.one("modify", relationtype, parentid, childid, options))

    async def delete(
        self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]
    ) -> Sent:
        """Let the relations not exist."""
        return await self._run(self._steps.one("delete", relationtype, parentid, childid, options))

    async def send(self, changes: Iterable[Change | MessageDict]) -> list[Sent]:
        """Send many, 1,000 at a time; each 1,000 are accepted per account or not at all."""
        return await self._run(self._steps.send(changes))

    async def job(self, job_id: str) -> JobDict:
        """One job, as it is now."""
        return await self._run(self._steps.job(job_id))

    async def wait(self, ids: Jobs, *, timeout: float = 60.0) -> list[JobDict]:
        """The jobs, by id or as they were sent, once all of them are done; raises TimeoutError that names those that are not.

        Unavailable when nobody tells by then.
        """
        return await self._run(self._steps.wait(ids, timeout=timeout))

    async def batch(self, account: str, label: str) -> BatchDict:
        """How far the changes with this label are: done when none is `open`."""
        return await self._run(self._steps.batch(account, label))

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, wanted: Generator[Step, Any, Result]) -> Result:
        try:
            step = next(wanted)
            while True:
                try:
                    answer = await self._take(step)
                except RelationsError as error:
                    step = wanted.throw(error)
                else:
                    step = wanted.send(answer)
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _take(self, step: Step) -> Any:
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
            return None
        try:
            answer = await self._http.request(**http_transport.request(step))
        except httpx.RequestError as error:
            raise http_transport.unanswered(error, self._http.base_url) from None
        return http_transport.answer(step.ask, answer)
