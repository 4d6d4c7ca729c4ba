"""How fast changes go all the way: accepted by one process, worked by one Celery worker, executed by the
simulator on a socket.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ops.bench.cpu import measured
from ops.bench.load import chunks
from ops.dev.stack import Stack
from worker.contract import Change
from worker.wiring import Runtime

OPEN_WIDE: Final = {
    "window": 0.0,
    "rate": 100_000.0,
    "burst": 1000,
    "max_ids": 500,
    "max_actions": 500,
    "max_batch": 2000,
}
UNPACED: Final = {"rate": 100_000.0, "burst": 1000}  # all other settings are those that everybody begins with
BATCH: Final = 500
POLL: Final = 0.01
DEADLINE: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """One run: what was sent, how long it took, what reached the API, and the CPU seconds of each process."""

    changes: int
    seconds: float
    accepting: float
    requests: int
    actions: int
    cpu: dict[str, float]

    @property
    def rate(self) -> float:
        """Changes per second, from the first that is accepted to the last outcome."""
        return self.changes / self.seconds

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "rate": self.rate}


def through(stack: Stack, runtime: Runtime, changes: Sequence[Change]) -> Through:
    """Accept in batches while the worker is at it, then wait for the last outcome."""
    account, intake = changes[0].account, runtime.intake()
    ready, before = list(chunks(list(changes), BATCH)), _executed(stack)
    with measured(pids(stack)) as cpu:
        started = time.monotonic()
        for chunk in ready:
            intake.accept(chunk)
        accepted = time.monotonic()
        drained(runtime, account, started + DEADLINE)
        ended = time.monotonic()
        spent = cpu()
    after = _executed(stack)
    return Through(
        changes=len(changes),
        seconds=ended - started,
        accepting=accepted - started,
        requests=after[0] - before[0],
        actions=after[1] - before[1],
        cpu=spent,
    )


def pids(stack: Stack) -> dict[str, int]:
    """Return the groups of processes to be measured."""
    found = {name: process.pid for name, process in stack.processes.items()}
    return found | ({"redis": stack.server.pid} if stack.server.pid else {})


def _executed(stack: Stack) -> tuple[int, int]:
    stats = stack.simulate("stats")
    return stats["requests"], sum(stats["actions"].values())


def drained(runtime: Runtime, account: str, deadline: float) -> None:
    """Return when every change of the account has its outcome; raises TimeoutError when the time is over."""
    while (counts := runtime.store.counts(account))["backlog"] + counts["open"]:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{account}: {counts['backlog']} changes and {counts['open']} relations are still open"
            )
        time.sleep(POLL)
