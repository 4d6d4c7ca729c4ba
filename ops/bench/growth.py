"""How the system grows with accounts and workers on one machine, and what such a machine carries in a day.

The accounts share nothing but the Redis thread and the machine's cores. Each has mailings of its own; nothing
but the machine holds them back.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from ops.bench.same_work import PACE, SETTINGS
from ops.bench.temporary import BATCH, drained, pids, temporary_stack
from ops.bench.usage import measured, proportional
from ops.bench.workloads import chunks, links
from ops.dev.stack import Shape, Stack
from worker.contract import Change

DEADLINE: Final = 240.0
POLL: Final = 0.1  # with thousands of accounts a look costs
DAY: Final = 86_400
GIB: Final = 1 << 30
RETENTION: Final = 7  # days that a finished job is kept by default
FINISHED: Final = 430  # bytes of a finished job, measured by `ops.bench.queries`


class Case(NamedTuple):
    """The settings by their name, and how many accounts, processes and changes there are."""

    how: str
    accounts: int
    workers: int
    changes: int


def grow(case: Case) -> dict[str, Any]:
    """Spread the changes over the accounts, and measure how fast the workers apply all of them."""
    names = tuple(f"a{number}" for number in range(case.accounts))
    shape = Shape(accounts=names, defaults=SETTINGS[case.how], parts=("worker",), concurrency=case.workers)
    loads = _loads(names, case.changes)
    with temporary_stack(shape) as stack:
        return {**case._asdict(), **_measured(stack, loads)}


def _loads(names: Sequence[str], changes: int) -> dict[str, list[Change]]:
    each = max(1, changes // len(names))
    return {name: links(each, account=name) for name in names}


def _measured(stack: Stack, loads: Mapping[str, list[Change]]) -> dict[str, Any]:
    runtime, total = stack.runtime(), sum(map(len, loads.values()))
    intake = runtime.intake()
    with measured(pids(stack)) as cpu:
        begun = time.monotonic()
        for turn in zip_longest(*(chunks(load, BATCH) for load in loads.values())):
            for chunk in filter(None, turn):
                intake.accept(chunk)
        _applied(stack, total, begun + DEADLINE)
        for account in loads:
            drained(runtime, account, begun + DEADLINE, poll=POLL)
        seconds, spent = time.monotonic() - begun, cpu()
    stats = stack.simulate("stats")
    return {
        "changes": total,
        "seconds": seconds,
        "rate": total / seconds,
        "requests": stats["requests"],
        "worker_bytes": proportional(stack.processes["worker"].pid),
        "cpu": spent,
        "cpu_us": {part: 1e6 * used / total for part, used in spent.items()},
    }


def _applied(stack: Stack, wanted: int, deadline: float) -> None:
    while stack.simulate("stats")["relations"] < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError("changes are still open")
        time.sleep(POLL)


def capacity(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how many changes a day each part of a machine carries, alone, and what to add when it is full.

    `done` is a run of ours with the default settings, as `Done.document()` has it.
    """
    spent = done["cpu_us"]
    whole = sum(spent[part] for part in ("producer", "redis", "worker"))
    per_request = done["changes"] / done["requests"]
    return [
        _row("the pace of one account, 4 requests/s", per_request * PACE * DAY, "a higher rate"),
        _row("1 GiB of Redis memory", GIB / FINISHED / RETENTION, "memory, or a shorter retention_days"),
        _row("a core that works", 1e6 / spent["worker"] * DAY, "worker processes on other machines"),
        _row(
            "the thread of Redis", 1e6 / spent["redis"] * DAY, "a Redis Cluster, over which accounts spread"
        ),
        _row("two cores, shared by everything", 2e6 / whole * DAY, "a machine for Redis alone"),
    ]


def _row(part: str, changes: float, then: str) -> dict[str, Any]:
    return {"part": part, "changes_a_day": changes, "then": then}
