"""The clients: `Relations` blocks, over HTTP or straight to Redis; `AsyncRelations` awaits, over HTTP only.

A change that a client returns is accepted; a call that is repeated after an error is not carried out twice.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack

import httpx

from producers.portals.sdk.http_transport import AsyncHttpTransport, HttpTransport
from producers.portals.sdk.protocol import CHUNK, Attempt, ClientSteps, Ids, Jobs, Options, Sent, Step
from producers.portals.serializers import BatchDict, JobDict
from worker.contract import Change, MessageDict, check_account_name
from worker.errors import RelationsError
from worker.ids import IdGenerator
from worker.ports import Clock

if TYPE_CHECKING:
    from producers.portals.sdk.redis_transport import RedisTransport
    from worker.config import Settings
    from worker.wiring import Runtime


__all__ = ["AsyncRelations", "Options", "Relations", "Sent"]

NEW_ID: Final = IdGenerator()
Result = TypeVar("Result")


class Relations:
    """A client with one key; `account` is that of changes that name none.

    A call is repeated for `timeout` seconds while time can cure its errors. Its methods raise InvalidChange
    with every fault, Unauthorized, Forbidden, NotFound, or Unavailable if the timeout came first. A URL or a
    key that cannot be one is Invalid at once.

    >>> relations = Relations(url, key, account="acme")
    >>> sent = relations.create("estate:address:buyer", 501, [9001, 9002], batch="spring")
    >>> relations.job(sent.id)["state"]
    'queued'
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        account: str = "",
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        clock: Clock = time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._transport: HttpTransport | RedisTransport = HttpTransport(url, key, transport)
        self._steps, self._clock = make_steps(account, timeout, clock, draw), clock

    @classmethod
    def connect(
        cls,
        settings: "Settings | Runtime | None" = None,
        *,
        account: str = "",
        timeout: float = 30.0,
        clock: Clock = time,
    ) -> Self:
        """Return a client that writes straight to Redis and wakes workers over the settings' broker.

        Without settings, those of the environment and working directory are loaded.

        >>> with Relations.connect(settings, account="acme") as relations:
        ...     relations.delete("estate:address:buyer", 501, 9002).duplicate
        False
        """
        try:
            from producers.portals.sdk import redis_transport  # imported here, since HTTP needs none of it
        except ImportError as error:
            raise RelationsError(
                "straight to Redis goes only the program itself, onoffice-relations, not its client alone"
            ) from error
        client = cls.__new__(cls)
        client._transport = redis_transport.connect(settings)
        chunk = redis_transport.CHUNKS * CHUNK
        client._steps, client._clock = make_steps(account, timeout, clock, random.random, chunk=chunk), clock
        return client

    def create(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Create the relations, between records that are named by their ids or by references.

        >>> relations.create("estate:address:owner", 501, {"address": {"email": "x@example.test"}}).state
        'queued'
        >>> relations.create("estate:address:interested", [501, 502], 9001, event_id="enquiry-4711").duplicate
        False
        >>> relations.create("estate:address:interested", [501, 502], 9001, event_id="enquiry-4711").duplicate
        True
        """
        return self._run(self._steps.send_one("create", relationtype, parentid, childid, options))

    def modify(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Set this `relationinfo` of the relations.

        >>> info = {"statusTerminbestaetigung": "gesendet"}
        >>> relations.modify("calendar:address", 7, 9001, relationinfo=info).state
        'queued'
        """
        return self._run(self._steps.send_one("modify", relationtype, parentid, childid, options))

    def delete(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Delete the relations.

        >>> relations.delete("estate:address:interested", 501, 9001).state
        'queued'
        """
        return self._run(self._steps.send_one("delete", relationtype, parentid, childid, options))

    def replace(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Let one record have exactly the records of the other side, which is a list.

        >>> relations.replace("estate:address:buyer", 501, [9001, 9002]).state
        'queued'
        """
        return self._run(self._steps.send_one("replace", relationtype, parentid, childid, options))

    def send(self, changes: Iterable[Change | MessageDict]) -> list[Sent]:
        """Send many changes, 1,000 at a time; each 1,000 are accepted per account or not at all.

        Over HTTP the `accepted` of an error are those that were sent before.

        >>> link: MessageDict = {
        ...     "action": "create", "relationtype": "estate:address:buyer", "parentid": 501, "childid": 1
        ... }
        >>> len(relations.send([{**link, "childid": child} for child in (1, 2, 3)]))
        3
        """
        return self._run(self._steps.send(changes))

    def job(self, job_id: str) -> JobDict:
        """Return one job as it is now."""
        return self._run(self._steps.get_job(job_id))

    def wait(self, ids: Jobs, *, timeout: float = 60.0) -> list[JobDict]:
        """Return the jobs, given by id or as they were sent, once all are done.

        Those that are no longer kept have ended, and are left out. Raises TimeoutError that names those that
        are not done, or Unavailable if nothing answers by then.

        >>> relations.wait(relations.create("estate:address:buyer", 501, 9003), timeout=0)
        Traceback (most recent call last):
        ...
        TimeoutError: 1 jobs are not seen done after 0 seconds: acme-...
        """
        return self._run(self._steps.wait(ids, timeout=timeout))

    def batch(self, account: str, label: str) -> BatchDict:
        """Count the changes with this label by state: all are done when none is `open`.

        Raises NotFound if no change has the label.

        >>> sent = relations.create("estate:address:owner", 501, 9001, batch="import-7")
        >>> relations.batch("acme", "import-7")["open"]
        1
        """
        return self._run(self._steps.get_batch(account, label))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, steps: Generator[Step, Any, Result]) -> Result:
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._perform(step)
                except RelationsError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: Result = end.value
            return result

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Attempt):
            return self._transport.attempt(step)
        self._clock.sleep(step.seconds)
        return None


def make_steps(
    account: str, timeout: float, clock: Clock, draw: Callable[[], float], *, chunk: int = CHUNK
) -> ClientSteps:
    """Return the steps of a client, by the clock and the id generator of this process.

    Raises Invalid for an account that cannot be one; without any, each change names its own.
    """
    if account:
        check_account_name(account)
    return ClientSteps(
        account=account,
        timeout=timeout,
        monotonic=clock.monotonic,
        now=lambda: time.time_ns() // 1000,
        draw=draw,
        new_id=NEW_ID,
        chunk=chunk,
    )


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
        self._steps, self._sleep = make_steps(account, timeout, time, random.random), sleep

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
