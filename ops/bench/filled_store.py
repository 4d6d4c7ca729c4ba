"""A store that holds a month of jobs, in which operators ask and look.

The jobs are made through the store's own transitions, so that every index and counter is as a year of work
leaves it.
"""

import random
import time
from typing import Final

import msgspec

from ops.bench.program import Echo
from worker.contract import Change, Reference, Relation
from worker.ids import IdGenerator
from worker.planner.actions import Action, Answer, Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.relation_state import Refusal
from worker.ports.references import LookUpResult, Parking
from worker.ports.requests import RequestRecord
from worker.ports.store import IntakeBounds, Retention, Submission
from worker.ports.work import Lease, Writes
from worker.store.redis_store import RedisStore

ACCOUNT: Final = "acme"
TYPES: Final = ("estate:address:buyer", "estate:address:interested", "calendar:address")
REFUSALS: Final = (
    Refusal(160, "record", "no such record"),
    Refusal(72, "rights", "no right"),
    Refusal(0, "unknown", ""),
)
SMALL_BATCH: Final = "spring"
CHUNK: Final = 1000
CHUNKS_PER_PARKED: Final = 100  # of which one job names a person whom nobody finds
DAY: Final = 86_400_000_000  # µs
KEPT: Final = Retention(60 * 86_400.0, 60 * 86_400.0, 60 * 86_400.0)
"""Nothing is forgotten while it is asked for."""


class Month:
    """The clock of the store: the jobs are spread over the last thirty days."""

    def __init__(self, jobs: int) -> None:
        self._now, self._step = time.time_ns() // 1000 - 30 * DAY, 30 * DAY // max(1, jobs // CHUNK)

    def now(self) -> int:
        """µs since the epoch."""
        return self._now

    def go_on(self) -> None:
        """Let the next thousand jobs be of a later hour."""
        self._now += self._step


def fill(store: RedisStore, jobs: int, times: Month, *, echo: Echo) -> list[str]:
    """Fill the store and return the ids of some of the jobs, evenly spread.

    One job in twenty failed, one in a hundred thousand is parked, the last thousand are still queued. Ten of
    three days ago have the batch SMALL_BATCH.
    """
    dice, names, kept = (
        random.Random(1),
        IdGenerator(lambda: times.now() // 1000, random.Random(2).randbytes),
        list[str](),
    )
    for start in range(0, jobs, CHUNK):
        submissions = [_submission(names(), dice) for _ in range(min(CHUNK, jobs - start))]
        if start // CHUNK % CHUNKS_PER_PARKED == 0:
            submissions[-1] = _name_by_reference(submissions[-1])
        if start // CHUNK == jobs // CHUNK * 9 // 10:
            submissions[:10] = [_put_in(SMALL_BATCH, each) for each in submissions[:10]]
        store.accept(ACCOUNT, submissions, IntakeBounds(2 * jobs, 86_400.0))
        kept += [each.job for each in submissions[:: max(1, CHUNK // 10)]]
        if start + 2 * CHUNK <= jobs:
            _work_off(store, dice, names())
        times.go_on()
        if not (start // CHUNK + 1) % 100:
            echo(f"  {start + CHUNK:,} …")
    return kept


def _submission(name: str, dice: random.Random) -> Submission:
    number = dice.randrange(1_000_000)
    change = Change(
        account=ACCOUNT,
        action=dice.choice(("create", "create", "delete")),
        type=dice.choice(TYPES),
        parents=(1 + number // 100,),
        children=(1_000_000 + number,),
        source=dice.choice(("portal", "import")),
        batch=f"import-{number // 100_000}",
    )
    return Submission(f"{ACCOUNT}-{name}", change, name)


def _put_in(batch: str, entry: Submission) -> Submission:
    return msgspec.structs.replace(entry, change=msgspec.structs.replace(entry.change, batch=batch))


def _name_by_reference(entry: Submission) -> Submission:
    """Return the submission with its child named by an address that no record has."""
    nobody = Reference("address", (("email", f"{entry.job}@example.test"),))
    asked = msgspec.structs.replace(entry.change, type=TYPES[0], children=(), child_references=(nobody,))
    return msgspec.structs.replace(entry, change=asked)


def _work_off(store: RedisStore, dice: random.Random, name: str) -> None:
    """Everything in the inbox taken and ended by one request, and parked what names nobody."""
    lease = store.lease(ACCOUNT, name)
    assert lease is not None  # noqa: S101 nobody else is here
    waiting = lease.read_look_ups(CHUNK)
    if waiting.jobs:
        parked = Parking(waiting.now, waiting.now + 60 * DAY, 1, "no such address")
        results = [
            LookUpResult(job.job, {each: Answer(0) for each in job.references}, waiting.now, parked)
            for job in waiting.jobs
        ]
        lease.write_look_ups(results, {}, memory=60.0)
    work = lease.read(max_jobs=CHUNK, max_relations=CHUNK)
    lease.claim(work.jobs, work.begun, Writes())
    _settle(lease, name, [_outcome(job.job, job.relations[0], dice) for job in work.jobs])
    lease.release()


def _settle(lease: Lease, name: str, settled: list[RelationOutcome]) -> None:
    request = Request(
        tuple(
            Action("create", entry.relation.type, (entry.relation.parent,), (entry.relation.child,))
            for entry in settled[:50]
        )
    )
    signed = lease.begin(name, request)
    assert isinstance(signed, int)  # noqa: S101 it is not paused
    answers = tuple(("ok", 0, "OK") for _ in request.actions)
    record = RequestRecord(
        id=name, at=signed, status=200, seconds=0.1, message="OK", actions=request.actions, answers=answers
    )
    lease.settle(name, Writes(outcomes=settled, requests=(record,)))


def _outcome(job: str, relation: Relation, dice: random.Random) -> RelationOutcome:
    if dice.random() < 0.05:
        return RelationOutcome(job, relation, "failed", "", dice.choice(REFUSALS))
    return RelationOutcome(job, relation, "applied")
