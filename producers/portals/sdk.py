"""The Python client of the HTTP interface: `Relations(url, key)`. What it returns is accepted; it repeats itself without doing so twice."""

import itertools
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypedDict, Unpack, cast
from urllib.parse import quote

import httpx
import msgspec

from producers.errors import Forbidden, Unauthorized
from producers.portals.json import JobDict
from worker.clock import Names, SystemClock
from worker.contract import Change, MessageDict, Verb, to_message, write_instant
from worker.errors import BacklogFull, Fault, Invalid, InvalidChange, NotFound, RelationsError, Unavailable
from worker.ports import OPEN_STATES, Clock

CHUNK: Final = 500  # changes per request
FIRST, LONGEST = 0.1, 5.0  # seconds between tries, and between looks at open jobs
SLOWEST: Final = 10.0  # seconds a single try may wait for the network
CURABLE: Final = (429, 502, 503, 504)
CLOCK: Final = SystemClock()
NAMES: Final = Names(lambda: time.time_ns() // 1_000_000, os.urandom)
Ids = int | Sequence[int]


class Sent(NamedTuple):
    """An accepted change: its job, the state it had then, and whether it was there before."""

    id: str
    state: str | None
    duplicate: bool


class Options(TypedDict, total=False):
    """What a change may say besides what it is about."""

    account: str
    relationinfo: dict[str, str]
    occurred_at: str
    event_id: str
    source: str
    batch: str


class Relations:
    """A client with one key; `account` is that of changes that name none; after `timeout` seconds a call tries no more.

    Raises InvalidChange with every fault, Unauthorized, Forbidden, NotFound; Unavailable when time can cure it but the timeout came first.
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
        self._account, self._timeout, self._clock, self._draw = account, timeout, clock, draw
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=min(timeout, SLOWEST), transport=transport)

    def create(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Let the relations exist."""
        return self._one("create", relationtype, parentid, childid, options)

    def modify(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Let the relations carry this `relationinfo`."""
        return self._one("modify", relationtype, parentid, childid, options)

    def delete(self, relationtype: str, parentid: Ids, childid: Ids, **options: Unpack[Options]) -> Sent:
        """Let the relations not exist."""
        return self._one("delete", relationtype, parentid, childid, options)

    def send(self, changes: Iterable[Change | MessageDict]) -> list[Sent]:
        """Send many, 500 at a time; each 500 are accepted per account or not at all."""
        sent: list[Sent] = []
        named = (self._named(to_message(change) if isinstance(change, Change) else change) for change in changes)
        while chunk := list(itertools.islice(named, CHUNK)):
            answer = self._call("POST", "/v1/changes", msgspec.json.encode(chunk))
            sent += [Sent(job["id"], job["state"], job["duplicate"]) for job in answer["jobs"]]
        return sent

    def job(self, job_id: str) -> JobDict:
        """One job, as it is now."""
        return cast(JobDict, self._call("GET", f"/v1/jobs/{quote(job_id, safe='')}"))

    def wait(self, ids: Iterable[str], *, timeout: float = 60.0) -> list[JobDict]:
        """The jobs, once all of them are done; raises TimeoutError that names those that are not."""
        jobs: dict[str, JobDict | None] = dict.fromkeys(ids)
        deadline = self._clock.monotonic() + timeout
        for pause in _pauses():
            for name in [name for name, job in jobs.items() if job is None or job["state"] in OPEN_STATES]:
                jobs[name] = self.job(name)
            waiting = [name for name, job in jobs.items() if job and job["state"] in OPEN_STATES]
            if not waiting:
                break
            if self._clock.monotonic() + pause > deadline:
                raise TimeoutError(f"{len(waiting)} jobs are not done after {timeout:g} seconds: {', '.join(waiting[:10])}")
            self._clock.sleep(pause)
        return [job for job in jobs.values() if job]

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _one(self, action: Verb, relationtype: str, parentid: Ids, childid: Ids, options: Options) -> Sent:
        about = {"action": action, "relationtype": relationtype, "parentid": parentid, "childid": childid}
        return self.send([cast(MessageDict, {**about, **options})])[0]

    def _named(self, message: MessageDict) -> dict[str, Any]:
        """With identity and time from before the first try, so that a repetition is the same change (R1).

        A change with an event id of its own keeps its content as it is: sent again, it has to be equal.
        """
        given = {name: value for name, value in message.items() if value is not None}
        made = {} if "event_id" in given else {"event_id": NAMES(), "occurred_at": write_instant(time.time_ns() // 1000)}
        return {**({"account": self._account} if self._account else {}), **made, **given}

    def _call(self, method: str, path: str, content: bytes | None = None) -> Any:
        deadline, pauses = self._clock.monotonic() + self._timeout, _pauses()
        while True:
            try:
                return self._try(method, path, content)
            except Unavailable as error:
                wait = max(error.retry_after, self._draw() * next(pauses))
                if self._clock.monotonic() + wait > deadline:
                    raise
            self._clock.sleep(wait)

    def _try(self, method: str, path: str, content: bytes | None) -> Any:
        try:
            answer = self._http.request(method, path, content=content, headers={"Content-Type": "application/json"} if content else {})
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise Invalid([Fault("url", str(error))]) from None
        except httpx.TransportError as error:
            raise Unavailable(f"{self._http.base_url} cannot be reached: {error or type(error).__name__}", retry_after=0.0) from error
        if not answer.is_success:
            raise refusal(answer)
        return answer.json()


def refusal(answer: httpx.Response) -> RelationsError:
    """The error that a problem document stands for."""
    document = _document(answer)
    detail = f"{document.get('detail') or answer.reason_phrase} (HTTP {answer.status_code})"
    if answer.status_code in CURABLE:
        kind = BacklogFull if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS else Unavailable
        after = answer.headers.get("retry-after", "")
        return kind(detail, retry_after=float(after) if after.isdecimal() else 0.0)
    if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return InvalidChange([Fault(fault["path"], fault["message"]) for fault in document.get("errors", ())] or [Fault("", detail)])
    kinds: dict[int, type[RelationsError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
    return kinds.get(answer.status_code, RelationsError)(detail)


def _document(answer: httpx.Response) -> dict[str, Any]:
    """The problem document; empty if a proxy answered with something else."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    return cast(dict[str, Any], answer.json())


def _pauses() -> Iterator[float]:
    """Seconds, doubling up to the longest, for ever."""
    return itertools.chain(itertools.takewhile(lambda pause: pause < LONGEST, (FIRST * 2**n for n in range(99))), itertools.repeat(LONGEST))
