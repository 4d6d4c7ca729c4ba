"""`python -m ops.bench.queries [--jobs N] [--json]`: how long each question takes when the store holds a
million jobs.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from redis import Redis
from rich.table import Table

from ops.bench.filled_store import ACCOUNT, TYPES, Month, fill
from ops.bench.program import Echo, run_program
from ops.bench.temporary import temporary_folder
from ops.dev.redis_server import run_server
from worker.contract import Relation
from worker.ports import JobFilter
from worker.redis.client import connect
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore

ASKED: Final = 50  # times each question is put
AIM: Final = 50.0  # ms, at the median


def main(argv: Sequence[str] | None = None) -> int:
    """Fill, ask, print; 1 when a median is over the aim."""
    facts = run_program(argv, "queries", __doc__, jobs=1_000_000, measure=measure, show=_table)
    return int(any(each["median"] > AIM for each in facts["questions"].values()))


def measure(jobs: int, echo: Echo) -> dict[str, Any]:
    """Milliseconds per question, and what the jobs cost in memory."""
    times = Month(jobs)
    with temporary_folder() as folder, run_server(folder) as server:
        client = connect(server.url)
        store, ask = RedisStore(client, "bench", now=times.now), RedisQueries(client, "bench")
        before, started = _memory(client), time.monotonic()
        ids = fill(store, jobs, times, echo=echo)
        echo(f"{jobs:,} jobs in {time.monotonic() - started:,.0f} s")
        questions = {name: _timed(question) for name, question in _questions(store, ask, ids).items()}
        return {"jobs": jobs, "bytes_per_job": (_memory(client) - before) / jobs, "questions": questions}


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


def _table(facts: Mapping[str, Any]) -> Table:
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
