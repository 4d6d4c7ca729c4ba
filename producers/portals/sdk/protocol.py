"""What a client does, as steps: ask the system something, or pause. No network, no clock and no dice of its own.

Generators yield what is wanted next and are sent the answer, so that one text serves clients that block and clients that await.
"""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypedDict, cast

import msgspec

from producers.portals.serializers import BatchDict, JobDict
from worker.contract import Change, MessageDict, Verb, write_instant
from worker.errors import InvalidChange, RelationsError, Unavailable
from worker.ports import OPEN_STATES

CHUNK: Final = 1000  # changes that are accepted or not, together
FIRST, LONGEST = 0.1, 5.0  # seconds between tries, and between looks at open jobs
SHORTEST: Final = 1.0  # seconds that even the last try has
Ids = int | Sequence[int]


class Sent(NamedTuple):
    """An accepted change: its job, the state it had then if that is known, and whether it was there before."""

    id: str
    state: str | None
    duplicate: bool


Jobs = str | Sent | Iterable[str | Sent]


class Options(TypedDict, total=False):
    """What a change may say besides what it is about."""

    account: str
    relationinfo: dict[str, str]
    occurred_at: str
    event_id: str
    source: str
    batch: str


class Send(NamedTuple):
    """Accept these; answered with a `Sent` for each."""

    changes: Sequence[Change | MessageDict]


class Look(NamedTuple):
    """What is this job now? Answered with a `JobDict`."""

    job: str


class Count(NamedTuple):
    """How far is this batch? Answered with a `BatchDict`."""

    account: str
    label: str


Ask = Send | Look | Count


class Try(NamedTuple):
    """Ask this once, and wait so many seconds for the answer."""

    ask: Ask
    seconds: float


class Pause(NamedTuple):
    """Wait so many seconds."""

    seconds: float


Step = Try | Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A client's manners. `now` gives seconds that only grow, `micros` those since the epoch, `draw` chance, `name` fresh ids."""

    account: str
    timeout: float
    now: Callable[[], float]
    micros: Callable[[], int]
    draw: Callable[[], float]
    name: Callable[[], str]
    most: int = CHUNK  # changes per question

    def one(
        self, action: Verb, relationtype: str, parentid: Ids, childid: Ids, options: Options
    ) -> Generator[Step, Any, Sent]:
        """Send one change."""
        about = {"action": action, "relationtype": relationtype, "parentid": parentid, "childid": childid}
        (sent,) = yield from self.send([cast(MessageDict, {**about, **options})])
        return sent

    def send(self, changes: Iterable[Change | MessageDict]) -> Generator[Step, Any, list[Sent]]:
        """Send many, some at a time; the positions of faults count from the first of all."""
        sent: list[Sent] = []
        rest, call = iter(changes), self.name()
        while chunk := list(itertools.islice(rest, self.most)):
            moment = self.micros()
            named = [
                self._named(change, f"{call}:{at}", moment)
                for at, change in enumerate(chunk, start=len(sent))
            ]
            try:
                sent += yield from self._ask(Send(named))
            except RelationsError as error:
                if isinstance(error, InvalidChange):
                    error = error.moved(lambda position: position + len(sent))
                error.accepted = sent
                raise error from None
        return sent

    def job(self, job_id: str) -> Generator[Step, Any, JobDict]:
        """Look at one job."""
        return cast(JobDict, (yield from self._ask(Look(job_id))))

    def batch(self, account: str, label: str) -> Generator[Step, Any, BatchDict]:
        """Count the jobs of a label."""
        return cast(BatchDict, (yield from self._ask(Count(account, label))))

    def wait(self, ids: Jobs, *, timeout: float) -> Generator[Step, Any, list[JobDict]]:
        """Look until all are done; raises TimeoutError that names those that are not."""
        found: dict[str, JobDict | None] = dict.fromkeys(_names(ids))
        deadline = self.now() + timeout
        for pause in pauses():
            yield from self._look(found, deadline)
            if not (waiting := _open(found)):
                break
            if self.now() + pause > deadline:
                raise TimeoutError(
                    f"{len(waiting)} jobs are not seen done after {timeout:g} seconds: {', '.join(waiting[:10])}"
                )
            yield Pause(pause)
        return [job for job in found.values() if job]

    def _look(self, found: dict[str, JobDict | None], deadline: float) -> Generator[Step, Any, None]:
        """Look at each open job, as long as there is time."""
        for name in _open(found):
            found[name] = yield from self._ask(Look(name), deadline)
            if self.now() > deadline:
                return

    def _ask(self, question: Ask, until: float | None = None) -> Generator[Step, Any, Any]:
        """Ask until it is answered; what time can cure is asked again, as long as there is time: that of a caller, or our own."""
        deadline, rests = self.now() + self.timeout if until is None else until, pauses()
        while True:
            try:
                return (yield Try(question, max(SHORTEST, deadline - self.now())))
            except Unavailable as error:
                rest = max(error.retry_after, self.draw() * next(rests))
                if self.now() + rest > deadline:
                    raise
            yield Pause(rest)

    def _named(self, change: Change | MessageDict, event_id: str, moment: int) -> Change | MessageDict:
        """With identity and time from before the first try, so that a repetition is the same change (R1).

        A change with an event id of its own keeps its content as it is: sent again, it has to be equal.
        """
        if isinstance(change, Change):
            if change.event_id:
                return change
            return msgspec.structs.replace(
                change, event_id=event_id, occurred_at=change.occurred_at or moment
            )
        given: dict[str, Any] = dict(change)
        if None in given.values():
            given = {name: value for name, value in given.items() if value is not None}
        if "event_id" not in given:
            given = {"occurred_at": write_instant(moment), **given, "event_id": event_id}
        return cast(MessageDict, {"account": self.account, **given} if self.account else given)


def pauses() -> Iterator[float]:
    """Seconds, doubling up to the longest, for ever."""
    return itertools.chain(
        itertools.takewhile(lambda pause: pause < LONGEST, (FIRST * 2**n for n in range(99))),
        itertools.repeat(LONGEST),
    )


def _names(jobs: Jobs) -> list[str]:
    """The ids of a job or of many, also of those that were just sent."""
    return [
        each.id if isinstance(each, Sent) else each
        for each in ([jobs] if isinstance(jobs, str | Sent) else jobs)
    ]


def _open(jobs: dict[str, JobDict | None]) -> list[str]:
    return [name for name, job in jobs.items() if job is None or job["state"] in OPEN_STATES]
