"""A long life in minutes: rounds of changes through the real stack with a retention of seconds, and what is left after each.

Every round but the first should end with as much memory and as many keys as the one before. Linux only, as RSS is read from /proc.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ops.bench.load import chunks, links, toggles
from ops.dev.stack import Shape, Stack, running
from worker.contract import Change
from worker.wiring import Runtime

ACCOUNTS: Final = ("one", "two", "three", "four")
PER_ROUND: Final = 50_000  # changes, over all accounts
AT_ONCE: Final = 500
RETENTION: Final = 0.0001  # days, so 8.64 seconds: the shortest that can be set
LIMITS: Final = {
    "window": 0.0,
    "rate": 100_000.0,
    "burst": 1000,
    "max_ids": 500,
    "max_actions": 500,
    "max_batch": 2000,
}
PATIENCE: Final = 300.0  # seconds for a round's work, and for its traces to vanish
POLL: Final = 0.2
MEGABYTE: Final = 2**20
PARENT, RSS = 1, 21  # places in /proc/<pid>/stat after the name
# Ends of keys that stay: a fixed number per account.
LASTING: Final = (
    b":counts",
    b":numbers",
    b":pace",
    b":accounts",
    b":workers",
    b":sweep",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: its load, its seconds of work, and what was there once it was forgotten. Memory in megabytes."""

    load: str
    changes: int
    seconds: float
    children_mb: float
    worker_mb: float
    redis_mb: float
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged:
    """All rounds; `lost` changes have no outcome, `left` keys should have gone."""

    rounds: tuple[Round, ...]
    changes: int
    lost: int
    left: int


def run(*, seconds: float, first: int, echo: Callable[[str], None]) -> Aged:
    """Rounds until `seconds` are over, at least three; `first` seeds the changes."""
    shape = Shape(
        accounts=ACCOUNTS,
        defaults={
            **LIMITS,
            "retention_days": RETENTION,
            "failed_retention_days": RETENTION,
            "remember_days": RETENTION,
        },
        parts=("worker", "beat"),
        concurrency=2,
    )
    until, rounds = time.monotonic() + seconds, list[Round]()
    with (
        tempfile.TemporaryDirectory(prefix="relations-longlife-", ignore_cleanup_errors=True) as folder,
        running(Path(folder), shape) as stack,
    ):
        runtime = stack.runtime()
        while len(rounds) < 3 or time.monotonic() < until:
            rounds.append(_round(stack, runtime, len(rounds), first))
            echo(_line(len(rounds), rounds[-1]))
        return _account(runtime, rounds)


def _round(stack: Stack, runtime: Runtime, number: int, first: int) -> Round:
    name, loads = _loads(number, first)
    started = time.monotonic()
    for parts in zip(*(chunks(load, AT_ONCE) for load in loads), strict=True):
        for part in parts:
            runtime.intake().accept(part)
    _wait(lambda: not any(_open(runtime, account) for account in ACCOUNTS))
    worked = time.monotonic() - started
    _wait(lambda: not _left(runtime))
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


def _loads(number: int, first: int) -> tuple[str, Sequence[list[Change]]]:
    """In turn: the same relations every time, ones that never were before, and a quarrel over few."""
    each, seed = PER_ROUND // len(ACCOUNTS), first + number
    if number % 3 == 2:
        return "a quarrel", [toggles(each, account=account, seed=seed) for account in ACCOUNTS]
    loads = [links(each, account=account, seed=seed) for account in ACCOUNTS]
    if number % 3 == 0:
        return "the same relations", loads
    return "fresh relations", [[_moved(change, number) for change in load] for load in loads]


def _moved(change: Change, number: int) -> Change:
    return Change(
        account=change.account,
        action=change.action,
        type=change.type,
        parents=change.parents,
        children=tuple(child + 1_000_000 * number for child in change.children),
    )


def _open(runtime: Runtime, account: str) -> int:
    counts = runtime.store.counts(account)
    return counts["backlog"] + counts["open"]


def _keys(runtime: Runtime) -> list[bytes]:
    return list(runtime.client.scan_iter(f"{runtime.settings.prefix}:*", count=10_000))


def _left(runtime: Runtime) -> list[bytes]:
    """The keys that should go when all is done and forgotten."""
    return [key for key in _keys(runtime) if not key.endswith(LASTING)]


def _account(runtime: Runtime, rounds: Sequence[Round]) -> Aged:
    sent = sum(each.changes for each in rounds)
    counts = [runtime.store.counts(account) for account in ACCOUNTS]
    ended = sum(each.get(state, 0) for each in counts for state in ("succeeded", "superseded", "failed"))
    return Aged(rounds=tuple(rounds), changes=sent, lost=sent - ended, left=len(_left(runtime)))


def _line(number: int, each: Round) -> str:
    return (
        f"round {number:2}  {each.load:18}  {each.changes:,} changes in {each.seconds:5.1f} s  children {each.children_mb:6.1f} MB"
        f"  worker {each.worker_mb:6.1f} MB  redis {each.redis_mb:6.2f} MB  {each.keys} keys"
    )


def _wait(done: Callable[[], bool]) -> None:
    """Return when it is done or patience is over; what is missing then shows in the numbers."""
    until = time.monotonic() + PATIENCE
    while not done() and time.monotonic() < until:
        time.sleep(POLL)


def _rss(leader: int) -> tuple[int, int]:
    """Bytes that a Celery worker and all its children hold in memory."""
    page = os.sysconf("SC_PAGE_SIZE")
    rows = dict(_stats())
    children = (int(row[RSS]) for row in rows.values() if int(row[PARENT]) == leader)
    return int(rows[leader][RSS]) * page, sum(children) * page


def _stats() -> Iterator[tuple[int, list[str]]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield int(path.parent.name), path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
