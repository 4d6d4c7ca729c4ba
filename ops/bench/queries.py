"""`python -m ops.bench.queries [--jobs N] [--json]`: how long each question takes when the store holds a
million jobs.

The jobs are made through the store's own transitions, so that every index and counter is as a year of work
leaves it.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from redis import Redis
from rich.console import Console
from rich.table import Table

from ops.dev.redis_server import run_server
from worker.clock import IdGenerator
from worker.contract import Change, Relation
from worker.planner.actions import Action, Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.relation_state import Refusal
from worker.ports import JobFilter, Lease, RequestRecord, Submission, Writes
from worker.redis.client import connect
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore

ACCOUNT: Final = "acme"
TYPES: Final = ("estate:address:buyer", "estate:address:interested", "calendar:address")
REFUSALS: Final = (
    Refusal(160, "record", "no such record"),
    Refusal(72, "rights", "no right"),
    Refusal(0, "unknown", ""),
)
CHUNK: Final = 1000
DAY: Final = 86_400_000_000  # µs
ASKED: Final = 50  # times each question is put
AIM: Final = 50.0  # ms, at the median


def main(argv: Sequence[str] | None = None) -> int:
    """Fill, ask, print; 1 when a median is over the aim."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.queries", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = parser.parse_args(argv)
    console = Console(highlight=False, stderr=chosen.json)
    with (
        tempfile.TemporaryDirectory(prefix="relations-bench-") as directory,
        run_server(Path(directory)) as server,
    ):
        client = connect(server.url)
        facts = measure(client, chosen.jobs, echo=console.print)
    if chosen.json:
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
    else:
        console.print(_table(facts))
    return int(any(each["median"] > AIM for each in facts["questions"].values()))


def measure(client: Any, jobs: int, *, echo: Callable[[str], None]) -> dict[str, Any]:
    """Milliseconds per question, and what the jobs cost in memory."""
    times = Month(jobs)
    store, ask = RedisStore(client, "bench", now=times.now), RedisQueries(client, "bench")
    before, started = _memory(client), time.monotonic()
    ids = fill(store, jobs, times, echo=echo)
    echo(f"{jobs:,} jobs in {time.monotonic() - started:,.0f} s")
    questions = {name: _timed(question) for name, question in _questions(store, ask, ids).items()}
    return {"jobs": jobs, "bytes_per_job": (_memory(client) - before) / jobs, "questions": questions}


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


def fill(store: RedisStore, jobs: int, times: Month, *, echo: Callable[[str], None]) -> list[str]:
    """Fill the store and return the ids of some of the jobs, evenly spread.

    One job in twenty failed, the last thousand are still open or queued.
    """
    dice, names, kept = (
        random.Random(1),
        IdGenerator(lambda: times.now() // 1000, random.Random(2).randbytes),
        list[str](),
    )
    for start in range(0, jobs, CHUNK):
        submissions = [_submission(names(), dice) for _ in range(min(CHUNK, jobs - start))]
        store.accept(ACCOUNT, submissions, max_backlog=2 * jobs, oldest=86_400.0)
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


def _work_off(store: RedisStore, dice: random.Random, name: str) -> None:
    """Everything in the inbox taken and ended by one request."""
    lease = store.lease(ACCOUNT, name)
    assert lease is not None  # noqa: S101 nobody else is here
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
    lease.settle(name, Writes(outcomes=settled, request=record))


def _outcome(job: str, relation: Relation, dice: random.Random) -> RelationOutcome:
    if dice.random() < 0.05:
        return RelationOutcome(job, relation, "failed", "", dice.choice(REFUSALS))
    return RelationOutcome(job, relation, "applied")


def _questions(store: RedisStore, ask: RedisQueries, ids: Sequence[str]) -> dict[str, Callable[[], object]]:
    dice = random.Random(3)
    some = [job for job in (store.get_job(dice.choice(ids)) for _ in range(ASKED)) if job]
    pick = iter(some * 20)
    relation = Relation(some[0].type, some[0].parents[0], some[0].children[0])

    def find(**wanted: Any) -> Callable[[], object]:
        return lambda: ask.find_jobs(ACCOUNT, JobFilter(**wanted))

    return {
        "one job": lambda: store.get_job(next(pick).id),
        "the newest": find(),
        "by state failed": find(state="failed"),
        "by state queued": find(state="queued"),
        "by state verifying (there is none)": find(state="verifying"),
        "by type": find(type=TYPES[0]),
        "by parent": lambda: ask.find_jobs(ACCOUNT, JobFilter(parent=next(pick).parents[0])),
        "by child (one among all)": lambda: ask.find_jobs(ACCOUNT, JobFilter(child=next(pick).children[0])),
        "by error": find(error="160"),
        "by error and type": find(error="rights", type=TYPES[1]),
        "by source": find(source="portal"),
        "by batch": find(batch="import-3"),
        "by time, somewhere in the middle": lambda: ask.find_jobs(
            ACCOUNT, JobFilter(until=next(pick).accepted_at)
        ),
        "errors, grouped": lambda: ask.failure_groups(ACCOUNT),
        "counts by state": lambda: ask.count_by_state(ACCOUNT),
        "requests": lambda: ask.list_requests(ACCOUNT),
        "a relation's jobs": lambda: store.relation_history(ACCOUNT, relation),
        "is my import done": lambda: store.batch_counts(ACCOUNT, "import-3"),
    }


def _timed(question: Callable[[], object]) -> dict[str, float]:
    spent = []
    for _ in range(ASKED):
        started = time.perf_counter()
        question()
        spent.append(1000 * (time.perf_counter() - started))
    return {"median": statistics.median(spent), "worst": max(spent)}


def _memory(client: Redis) -> int:
    return int(client.info("memory")["used_memory"])


def _table(facts: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column(
        f"{facts['jobs']:,} jobs, {facts['bytes_per_job']:,.0f} B each; ms, aim {AIM:g} at the median",
        no_wrap=True,
    )
    for name in ("median", "worst"):
        table.add_column(name, justify="right")
    for name, each in facts["questions"].items():
        table.add_row(name, f"{each['median']:.1f}", f"{each['worst']:.1f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
