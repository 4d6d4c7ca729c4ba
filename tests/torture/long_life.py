"""A long life in minutes: rounds of changes through the real stack with a retention of seconds.

Every round but the first should end with as much memory and as many keys as the one before. Linux only, as
RSS is read from /proc.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ops.bench.temporary import OPEN_WIDE
from ops.bench.usage import read_stats
from ops.bench.workloads import chunks, links, toggles
from ops.dev.stack import Shape, Stack, running
from worker.contract import Change
from worker.wiring import Runtime

ACCOUNTS: Final = ("one", "two", "three", "four")
PER_ROUND: Final = 50_000  # changes, over all accounts
AT_ONCE: Final = 500
RETENTION: Final = 0.0001  # days, so 8.64 seconds: the shortest that can be set
TIME_LIMIT: Final = 300.0  # seconds for a round's work, and for its keys to expire
POLL: Final = 0.2
MEGABYTE: Final = 2**20
PARENT, RSS = 1, 21  # places in /proc/<pid>/stat after the name
# Suffixes of keys that stay: a fixed number per account.
PERMANENT: Final = (
    b":counts",
    b":numbers",
    b":pace",
    b":accounts",
    b":workers",
    b":sweep",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: its load, its seconds of work, and what was left once its keys expired; memory in MB."""

    load: str
    changes: int
    seconds: float
    children_mb: float
    worker_mb: float
    redis_mb: float
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LongLifeResult:
    """All rounds; `lost` changes have no outcome, `left` keys should have expired."""

    rounds: tuple[Round, ...]
    changes: int
    lost: int
    left: int


def run(*, seconds: float, first: int, echo: Callable[[str], None]) -> LongLifeResult:
    """Run rounds until `seconds` are over, at least three; `first` seeds the changes."""
    shape = Shape(
        accounts=ACCOUNTS,
        defaults={
            **OPEN_WIDE,
            "retention_days": RETENTION,
            "failed_retention_days": RETENTION,
            "remember_days": RETENTION,
        },
        parts=("worker", "beat"),
        concurrency=2,
    )
    deadline, rounds = time.monotonic() + seconds, list[Round]()
    with (
        tempfile.TemporaryDirectory(prefix="relations-longlife-", ignore_cleanup_errors=True) as folder,
        running(Path(folder), shape) as stack,
    ):
        runtime = stack.runtime()
        while len(rounds) < 3 or time.monotonic() < deadline:
            rounds.append(_run_round(stack, runtime, len(rounds), first))
            echo(_describe(len(rounds), rounds[-1]))
        return _summarize(runtime, rounds)


def _run_round(stack: Stack, runtime: Runtime, number: int, first: int) -> Round:
    name, loads = _make_loads(number, first)
    started = time.monotonic()
    for chunk_of_each in zip(*(chunks(load, AT_ONCE) for load in loads), strict=True):
        for chunk in chunk_of_each:
            runtime.intake().accept(chunk)
    _wait(lambda: not any(_count_open(runtime, account) for account in ACCOUNTS))
    worked = time.monotonic() - started
    _wait(lambda: not _remaining_keys(runtime))
    main, children = _rss(stack.processes["worker"].pid)
    info: Any = runtime.client.info("memory")
    return Round(
        load=name,
        changes=sum(map(len, loads)),
        seconds=round(worked, 1),
        children_mb=round(children / MEGABYTE, 1),
        worker_mb=round(main / MEGABYTE, 1),
        redis_mb=round(info["used_memory"] / MEGABYTE, 2),
        keys=len(_keys(runtime)),
    )


def _make_loads(number: int, first: int) -> tuple[str, Sequence[list[Change]]]:
    """Return in turn: always the same relations, new ones, and many contradicting changes of few."""
    size, seed = PER_ROUND // len(ACCOUNTS), first + number
    if number % 3 == 2:
        return "contradictions", [toggles(size, account=account, seed=seed) for account in ACCOUNTS]
    loads = [links(size, account=account, seed=seed) for account in ACCOUNTS]
    if number % 3 == 0:
        return "the same relations", loads
    return "new relations", [[_with_new_children(change, number) for change in load] for load in loads]


def _with_new_children(change: Change, number: int) -> Change:
    return Change(
        account=change.account,
        action=change.action,
        type=change.type,
        parents=change.parents,
        children=tuple(child + 1_000_000 * number for child in change.children),
    )


def _count_open(runtime: Runtime, account: str) -> int:
    counts = runtime.store.counts(account)
    return counts["backlog"] + counts["open"]


def _keys(runtime: Runtime) -> list[bytes]:
    return list(runtime.client.scan_iter(f"{runtime.settings.prefix}:*", count=10_000))


def _remaining_keys(runtime: Runtime) -> list[bytes]:
    """Return the keys that should expire when all is done."""
    return [key for key in _keys(runtime) if not key.endswith(PERMANENT)]


def _summarize(runtime: Runtime, rounds: Sequence[Round]) -> LongLifeResult:
    sent = sum(one.changes for one in rounds)
    counts = [runtime.store.counts(account) for account in ACCOUNTS]
    ended = sum(
        numbers.get(state, 0) for numbers in counts for state in ("succeeded", "superseded", "failed")
    )
    left = len(_remaining_keys(runtime))
    return LongLifeResult(rounds=tuple(rounds), changes=sent, lost=sent - ended, left=left)


def _describe(number: int, one: Round) -> str:
    return (
        f"round {number:2}  {one.load:18}  {one.changes:,} changes in {one.seconds:5.1f} s"
        f"  children {one.children_mb:6.1f} MB  worker {one.worker_mb:6.1f} MB"
        f"  redis {one.redis_mb:6.2f} MB  {one.keys} keys"
    )


def _wait(done: Callable[[], bool]) -> None:
    """Wait until `done()` or the time limit; the numbers show what is not done then."""
    deadline = time.monotonic() + TIME_LIMIT
    while not done() and time.monotonic() < deadline:
        time.sleep(POLL)


def _rss(leader: int) -> tuple[int, int]:
    """Return the RSS in bytes of a Celery worker, and of all its children together."""
    page = os.sysconf("SC_PAGE_SIZE")
    rows = dict(read_stats())
    children = (int(row[RSS]) for row in rows.values() if int(row[PARENT]) == leader)
    return int(rows[leader][RSS]) * page, sum(children) * page
