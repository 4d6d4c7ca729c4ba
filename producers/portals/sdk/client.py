"""The Python clients. What they return is accepted; they repeat themselves without doing so twice.

`Relations(url, key)` speaks HTTP, `Relations.connect()` writes straight to Redis, `AsyncRelations(url, key)` is for `await`.
"""

import os
import random
import time
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack

import httpx

from producers.portals.sdk import http_transport
from producers.portals.sdk.protocol import CHUNK, Ids, Jobs, Options, Pause, Sent, Step, Steps, Try
from producers.portals.serializers import BatchDict, JobDict
from worker.clock import IdGenerator, SystemClock
from worker.contract import Change, MessageDict
from worker.errors import RelationsError
from worker.ports import Clock

if TYPE_CHECKING:
    from worker.config import Settings
    from worker.wiring import Runtime

__all__ = ["Options", "Relations", "Sent"]

CLOCK: Final = SystemClock()
NAMES: Final = IdGenerator(lambda: time.time_ns() // 1_000_000, os.urandom)
Result = TypeVar("Result")


class Web:
    """Answers a client's questions over HTTP."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.close: Callable[[], None] = http.close

    def __call__(self, step: Try) -> Any:
        """The answer."""
        try:
            answer = self._http.request(**http_transport.request(step))
        except httpx.RequestError as error:
            raise http_transport.unanswered(error, self._http.base_url) from None
        return http_transport.answer(step.ask, answer)


class Relations:
    """A client with one key; `account` is that of changes that name none; after `timeout` seconds a call tries no more.

    Raises InvalidChange with every fault, Unauthorized, Forbidden, NotFound; Unavailable when time can cure it but the timeout came first.
    An address or a key that cannot be one is Invalid at once.

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
        clock: Clock = CLOCK,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._line: Any = Web(httpx.Client(**http_transport.options(url, key), transport=transport))
        self._steps, self._clock = steps(account, timeout, clock, draw), clock

    @classmethod
    def connect(
        cls,
        settings: "Settings | Runtime | None" = None,
        *,
        account: str = "",
        timeout: float = 30.0,
        clock: Clock = CLOCK,
    ) -> Self:
        """A client that writes straight to Redis, by these settings or those of this environment and working directory.

        It wakes workers over the settings' broker. Not to be shared over a fork.

        >>> with Relations.connect(settings, account="acme") as relations:
        ...     relations.delete("estate:address:buyer", 501, 9002).duplicate
        False
        """
        from producers.portals.sdk.redis_transport import MOST, direct  # HTTP needs none of it

        client = cls.__new__(cls)
        client._line, client._steps, client._clock = (
            direct(settings),
            steps(account, timeout, clock, random.random, most=MOST),
            clock,
        )
        return client

    def create(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Let the relations exist.

        >>> relations.create("estate:address:interested", [501, 502], 9001, event_id="enquiry-4711").duplicate
        False
        >>> relations.create("estate:address:interested", [501, 502], 9001, event_id="enquiry-4711").duplicate
        True
        """
        return self._run(self._steps.one("create", relationtype, parentid, childid, options))

    def modify(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Let the relations carry this `relationinfo`.

        >>> relations.modify("calendar:address", 7, 9001, relationinfo={"statusTerminbestaetigung": "gesendet"}).state
        'queued'
        """
        return self._run(self._steps.one("modify", relationtype, parentid, childid, options))

    def delete(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Let the relations not exist.

        >>> relations.delete("estate:address:interested", 501, 9001).state
        'queued'
        """
        return self._run(self._steps.one("delete", relationtype, parentid, childid, options))

    def send(self, changes: Iterable[Change | MessageDict]) -> list[Sent]:
        """Send many, 1,000 at a time; each 1,000 are accepted per account or not at all. Over HTTP an error's
        `accepted` are those before them.

        >>> links = [{"action": "create", "relationtype": "estate:address:buyer", "parentid": 501, "childid": n} for n in (1, 2, 3)]
        >>> len(relations.send(links))
        3
        """
        return self._run(self._steps.send(changes))

    def job(self, job_id: str) -> JobDict:
        """One job, as it is now."""
        return self._run(self._steps.job(job_id))

    def wait(self, ids: Jobs, *, timeout: float = 60.0) -> list[JobDict]:
        """The jobs, by id or as they were sent, once all of them are done; raises TimeoutError that names those that are not.

        Unavailable when nobody tells by then.

        >>> relations.wait(relations.create("estate:address:buyer", 501, 9003), timeout=0)
        Traceback (most recent call last):
        ...
        TimeoutError: 1 jobs are not seen done after 0 seconds: acme-...
        """
        return self._run(self._steps.wait(ids, timeout=timeout))

    def batch(self, account: str, label: str) -> BatchDict:
        """How far the changes with this label are: done when none is `open`. Raises NotFound when no change carries it.

        >>> sent = relations.create("estate:address:owner", 501, 9001, batch="import-7")
        >>> relations.batch("acme", "import-7")["open"]
        1
        """
        return self._run(self._steps.batch(account, label))

    def close(self) -> None:
        """Close its connections."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, wanted: Generator[Step, Any, Result]) -> Result:
        try:
            step = next(wanted)
            while True:
                try:
                    answer = self._take(step)
                except RelationsError as error:
                    step = wanted.throw(error)
                else:
                    step = wanted.send(answer)
        except StopIteration as end:
            result: Result = end.value
            return result

    def _take(self, step: Step) -> Any:
        if not isinstance(step, Pause):
            return self._line(step)
        self._clock.sleep(step.seconds)
        return None


def steps(
    account: str, timeout: float, clock: Clock, draw: Callable[[], float], *, most: int = CHUNK
) -> Steps:
    """A client's manners, with the time and the names of this process."""
    micros = lambda: time.time_ns() // 1000  # noqa: E731
    return Steps(
        account=account, timeout=timeout, now=clock.monotonic, micros=micros, draw=draw, name=NAMES, most=most
    )
