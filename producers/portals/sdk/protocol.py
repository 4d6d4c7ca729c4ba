"""What a client does, as steps: attempt a call, or wait. Knows no network, clock or chance of its own.

The methods are generators that yield the next step and are sent its answer, so that one implementation serves
clients that block and clients that await.
"""

import itertools
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import add
from typing import Any, Final, NamedTuple, cast

import msgspec

from producers.portals.serializers import BatchDict, JobDict
from worker.contract import Change, ChangeAction, MessageDict, check_account_name, write_instant
from worker.contract.message import Options as Options
from worker.contract.message import RecordDict
from worker.contract.quoting import quote
from worker.contract.values import to_plain
from worker.errors import Fault, InvalidChange, NotFound, RelationsError, Unavailable
from worker.ports.records import OPEN_STATES

CHUNK: Final = 1000  # changes that are accepted together, or not at all
FIRST_PAUSE: Final = 0.1  # seconds between attempts, and between looks at open jobs; doubles
LOOKUP: Final = 500  # jobs that are asked for at a time
JOB_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}-[0-9a-z]{18}")
LONGEST_PAUSE: Final = 5.0
MIN_TIMEOUT: Final = 1.0  # seconds that even the last attempt has
Ids = RecordDict | Sequence[RecordDict]
"""The records of a side: ids, or references such as `{"address": {"email": "x@example.test"}}`."""


class Sent(NamedTuple):
    """An accepted change: its job, the job's state then if known, and whether the job existed before."""

    id: str
    state: str | None
    duplicate: bool


Jobs = str | Sent | Iterable[str | Sent]


class SendChanges(NamedTuple):
    """Accept these changes; answered with a `Sent` for each."""

    changes: Sequence[Change | MessageDict]


class GetJobs(NamedTuple):
    """Read jobs; answered with a `JobDict` for each, None for those that are not kept (any more)."""

    job_ids: Sequence[str]


class GetBatch(NamedTuple):
    """Count the jobs of a batch label; answered with a `BatchDict`."""

    account: str
    label: str


Call = SendChanges | GetJobs | GetBatch


class Attempt(NamedTuple):
    """Make this call once, and wait at most so many seconds for the answer."""

    call: Call
    timeout: float


class Sleep(NamedTuple):
    """Sleep so many seconds."""

    seconds: float


Step = Attempt | Sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSteps:
    """The steps of each method of a client.

    `monotonic` gives seconds that only grow, `now` microseconds since the epoch, `draw` a random number from
    0 to 1.
    """

    account: str
    timeout: float
    monotonic: Callable[[], float]
    now: Callable[[], int]
    draw: Callable[[], float]
    new_id: Callable[[], str]
    chunk: int = CHUNK  # changes per call

    def send_one(
        self, action: ChangeAction, relationtype: str, parentid: Ids, childid: Ids, options: Options
    ) -> Generator[Step, Any, Sent]:
        """Send one change."""
        message = {"action": action, "relationtype": relationtype, "parentid": parentid, "childid": childid}
        (sent,) = yield from self.send([cast(MessageDict, {**message, **options})])
        return sent

    def send(self, changes: Iterable[Change | MessageDict]) -> Generator[Step, Any, list[Sent]]:
        """Send many changes, a chunk at a time; the paths of faults count from the first of all."""
        sent: list[Sent] = []
        rest, send_id = iter(changes), self.new_id()
        while chunk := list(itertools.islice(rest, self.chunk)):
            now = self.now()
            try:
                identified = [
                    self._identify(change, f"{send_id}:{position}", now)
                    for position, change in enumerate(chunk, start=len(sent))
                ]
                sent += yield from self._call(SendChanges(identified))
            except RelationsError as error:
                if isinstance(error, InvalidChange):
                    error = error.moved(partial(add, len(sent)))
                error.accepted = sent
                raise error from None
        return sent

    def get_job(self, job_id: str) -> Generator[Step, Any, JobDict]:
        """Read one job."""
        [job] = yield from self._call(GetJobs([job_id]))
        if job is None:
            raise NotFound(f'there is no job "{job_id}" (any more)')
        return cast(JobDict, job)

    def get_batch(self, account: str, label: str) -> Generator[Step, Any, BatchDict]:
        """Count the jobs of a batch label."""
        check_account_name(account)
        return cast(BatchDict, (yield from self._call(GetBatch(account, cast(str, to_plain(label))))))

    def wait(self, jobs: Jobs, *, timeout: float) -> Generator[Step, Any, list[JobDict]]:
        """Read the jobs until all are done; raises TimeoutError that names those that are not.

        The last look is at the end of the time, so that no job is named that was done by then.
        """
        found: dict[str, JobDict | None] = dict.fromkeys(_job_ids(jobs))
        deadline = self.monotonic() + timeout
        for pause in backoff_pauses():
            yield from self._read_open_jobs(found, deadline)
            waiting, left = _open_jobs(found), deadline - self.monotonic()
            if not waiting:
                break
            if left <= 0:
                ids = ", ".join(waiting[:10])
                raise TimeoutError(f"{len(waiting)} jobs are not seen done after {timeout:g} seconds: {ids}")
            yield Sleep(min(pause, left))
        return [job for job in found.values() if job]

    def _read_open_jobs(
        self, found: dict[str, JobDict | None], deadline: float
    ) -> Generator[Step, Any, None]:
        """Read the jobs that are not seen done yet, many at a time; take out those that are forgotten.

        However many there are, this ends `MIN_TIMEOUT` after the deadline: the rest is not looked at. One
        that begins later, since the machine slept, has as long.
        """
        waiting, end = _open_jobs(found), max(deadline, self.monotonic()) + MIN_TIMEOUT
        for start in range(0, len(waiting), LOOKUP):
            if self.monotonic() >= end:
                return
            asked = waiting[start : start + LOOKUP]
            jobs = yield from self._call(GetJobs(asked), deadline, end)
            found.update(zip(asked, jobs, strict=True))
            for job_id in _drop_forgotten(found, asked):
                if not JOB_ID.fullmatch(job_id):
                    raise NotFound(f"{quote(job_id)} is not the id of a job")

    def _call(
        self, call: Call, deadline: float | None = None, end: float | None = None
    ) -> Generator[Step, Any, Any]:
        """Make a call and return its answer; repeat it until the deadline while time can cure its errors.

        No attempt lasts beyond the end, if there is one.
        """
        if deadline is None:
            deadline = self.monotonic() + self.timeout
        pauses = backoff_pauses()
        while True:
            now = self.monotonic()
            try:
                return (yield Attempt(call, max(MIN_TIMEOUT, deadline - now) if end is None else end - now))
            except Unavailable as error:
                pause = max(error.retry_after, self.draw() * next(pauses))
                if self.monotonic() + pause > deadline:
                    raise
            yield Sleep(pause)

    def _identify(self, change: Change | MessageDict, event_id: str, now: int) -> Change | MessageDict:
        """Give the change an event id and a time before the first attempt, so that repeating it is safe (R1).

        A change with an event id of its own keeps its content as it is: sent again, it has to be equal.
        """
        if isinstance(change, Change):
            if change.event_id:
                return change
            return msgspec.structs.replace(change, event_id=event_id, occurred_at=change.occurred_at or now)
        if not isinstance(change, Mapping):
            raise InvalidChange([Fault("", f"expected a change (a mapping), got {quote(change)}")])
        message: dict[str, Any] = {name: value for name, value in change.items() if value is not None}
        if "event_id" not in message:
            message = {"occurred_at": write_instant(now), **message, "event_id": event_id}
        return cast(MessageDict, {"account": self.account, **message} if self.account else message)


def backoff_pauses() -> Iterator[float]:
    """Yield seconds that double up to the longest pause, for ever."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


def _job_ids(jobs: Jobs) -> list[str]:
    """Return the ids of one job or many, given by id or as they were sent."""
    several = [jobs] if isinstance(jobs, str | Sent) else jobs
    return [job.id if isinstance(job, Sent) else job for job in several]


def _drop_forgotten(found: dict[str, JobDict | None], asked: Sequence[str]) -> list[str]:
    """Take out and return those of the jobs of which nothing was found."""
    forgotten = [job_id for job_id in asked if found[job_id] is None]
    for job_id in forgotten:
        del found[job_id]
    return forgotten


def _open_jobs(jobs: dict[str, JobDict | None]) -> list[str]:
    return [job_id for job_id, job in jobs.items() if job is None or job["state"] in OPEN_STATES]
