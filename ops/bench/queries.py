"""`python -m ops.bench.queries [--jobs N] [--json]`: how long each question takes when the store holds a
million jobs, and of a list, on how many pages its first fifty jobs stand.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle
from typing import Any, Final

from redis import Redis
from rich.table import Table

from ops.bench.filled_store import ACCOUNT, DAY, KEPT, SMALL_BATCH, TYPES, Month, fill
from ops.bench.program import Echo, run_program
from ops.bench.temporary import temporary_folder
from ops.dev.redis_server import run_server
from producers.job_admin.suspects import find_suspects
from worker.contract import Relation
from worker.ports.queries import CursorPage
from worker.ports.records import JobFilter, JobRecord
from worker.redis.client import connect
from worker.store.metrics import RedisMetrics
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore

ASKED: Final = 50  # times each question is put
AIM: Final = 10.0  # ms, at the median
ROUNDS: Final = 3  # of which the one with the least median counts, on a machine that others use too
JOBS: Final = 50  # of a list
INDEXED: Final[Mapping[str, JobFilter]] = {
    "the newest": JobFilter(),
    "queued": JobFilter(state="queued"),
    "parked (ten)": JobFilter(state="parked"),
    "held (there is none)": JobFilter(state="held"),
    "verifying (there is none)": JobFilter(state="verifying"),
    "failed": JobFilter(state="failed"),
    "failed, of a type": JobFilter(state="failed", type=TYPES[1]),
    "of an error": JobFilter(error="160"),
    "of an error and type": JobFilter(error="rights", type=TYPES[1]),
}
SEARCHED: Final[Mapping[str, JobFilter]] = {  # page by page, among all jobs or all that failed
    "of a type": JobFilter(type=TYPES[0]),
    "of a source": JobFilter(source="portal"),
    "of a batch": JobFilter(batch="import-3"),
    "of a batch of ten, of three days ago": JobFilter(batch=SMALL_BATCH),
    "superseded (there is none)": JobFilter(state="superseded"),
    "of a source without jobs": JobFilter(source="nobody"),
    "failed, of a source without jobs": JobFilter(state="failed", source="nobody"),
}
OF_JOBS: Final[Mapping[str, Callable[[JobRecord], JobFilter]]] = {  # the last three as those
    "of a producer's key and source": lambda job: JobFilter(source=job.source, event_id=job.event_id),
    "until some time": lambda job: JobFilter(until=job.accepted_at),
    "between two times": lambda job: JobFilter(since=job.accepted_at - DAY, until=job.accepted_at),
    "of a parent": lambda job: JobFilter(parent=job.parents[0]),
    "of a child": lambda job: JobFilter(child=job.children[0]),
    "of a producer's key alone": lambda job: JobFilter(event_id=job.event_id),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Fill, ask, print; 1 when a median is over the aim."""
    facts = run_program(argv, "queries", __doc__, jobs=1_000_000, measure=measure, show=_table)
    return int(any(each["median"] > AIM for each in facts["questions"].values()))


def measure(jobs: int, echo: Echo) -> dict[str, Any]:
    """Milliseconds per question, and what the jobs cost in memory."""
    times = Month(jobs)
    with temporary_folder() as folder, run_server(folder) as server:
        client = connect(server.url)
        store = RedisStore(client, "bench", keep=lambda _: KEPT, now=times.now)
        ask = RedisQueries(store.database)
        before, started = _memory(client), time.monotonic()
        ids = fill(store, jobs, times, echo=echo)
        echo(f"{jobs:,} jobs in {time.monotonic() - started:,.0f} s")
        questions = {name: _timed(question) for name, question in _questions(store, ask, ids).items()}
        for name, wanted in _lists(store, ids).items():
            timed = _timed(partial(_list_jobs, ask, wanted))
            questions[name] = {**timed, "pages": _count_pages(ask, wanted())}
        return {"jobs": jobs, "bytes_per_job": (_memory(client) - before) / jobs, "questions": questions}


def _questions(store: RedisStore, ask: RedisQueries, ids: Sequence[str]) -> dict[str, Callable[[], object]]:
    dice = random.Random(3)
    job = store.get_job(ids[len(ids) // 2])
    assert job is not None  # noqa: S101 nothing is forgotten
    relation = Relation(job.type, job.parents[0], job.children[0])
    return {
        "one job": lambda: store.get_job(dice.choice(ids)),
        "is my import done": lambda: store.batch_counts(ACCOUNT, "import-3"),
        "a relation's jobs": lambda: store.relation_history(ACCOUNT, relation),
        "counts by state": lambda: RedisMetrics(store.database).account_stats([ACCOUNT]),
        "errors, grouped": lambda: ask.failure_groups(ACCOUNT),
        "errors, suspects of the newest 500": lambda: find_suspects(ask, ACCOUNT, most=500),
        "requests": lambda: ask.list_requests(ACCOUNT),
    }


def _lists(store: RedisStore, ids: Sequence[str]) -> dict[str, Callable[[], JobFilter]]:
    """Return what lists ask for; those with a record or a time are of another job each time."""
    dice = random.Random(3)
    pick = cycle([job for job in (store.get_job(dice.choice(ids)) for _ in range(ASKED)) if job])
    oldest = store.get_job(ids[0])
    assert oldest is not None  # noqa: S101 nothing is forgotten
    ends = {
        "failed, until the first day": JobFilter(state="failed", until=oldest.accepted_at + DAY),
        "failed in the last minute (none)": JobFilter(state="failed", since=oldest.accepted_at + 60 * DAY),
    }

    def same(wanted: JobFilter) -> Callable[[], JobFilter]:
        return lambda: wanted

    def of_next(make: Callable[[JobRecord], JobFilter]) -> Callable[[], JobFilter]:
        return lambda: make(next(pick))

    return {
        **{name: same(wanted) for name, wanted in {**INDEXED, **ends, **SEARCHED}.items()},
        **{name: of_next(make) for name, make in OF_JOBS.items()},
    }


def _list_jobs(ask: RedisQueries, wanted: Callable[[], JobFilter]) -> CursorPage[JobRecord]:
    return ask.find_jobs(ACCOUNT, wanted(), limit=JOBS)


def _timed(question: Callable[[], object]) -> dict[str, float]:
    rounds = [sorted(_time_once(question) for _ in range(ASKED)) for _ in range(ROUNDS)]
    best = min(rounds, key=statistics.median)
    return {"median": statistics.median(best), "worst": best[-1]}


def _time_once(question: Callable[[], object]) -> float:
    started = time.perf_counter()
    question()
    return 1000 * (time.perf_counter() - started)


def _count_pages(ask: RedisQueries, wanted: JobFilter) -> int:
    """Return how many pages are read until a list is full, or ends."""
    pages, left, cursor = 0, JOBS, ""
    while True:
        page = ask.find_jobs(ACCOUNT, wanted, limit=left, cursor=cursor)
        pages, left, cursor = pages + 1, left - len(page.entries), page.next
        if not (left and cursor):
            return pages


def _memory(client: Redis) -> int:
    return int(client.info("memory")["used_memory"])


def _table(facts: Mapping[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column(
        f"{facts['jobs']:,} jobs, {facts['bytes_per_job']:,.0f} B each; ms, aim {AIM:g} at the median",
        no_wrap=True,
    )
    for name in ("median", "worst", "pages"):
        table.add_column(name, justify="right")
    for name, each in facts["questions"].items():
        pages = f"{each['pages']:,}" if "pages" in each else ""
        table.add_row(name, f"{each['median']:.1f}", f"{each['worst']:.1f}", pages)
    return table


if __name__ == "__main__":
    sys.exit(main())
