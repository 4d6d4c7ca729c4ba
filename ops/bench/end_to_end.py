"""What the benches of changes that go all the way share: settings, what is measured, when all is done."""

import time
from typing import Final

from ops.dev.stack import Stack
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


def pids(stack: Stack) -> dict[str, int]:
    """Return the groups of processes to be measured."""
    found = {name: process.pid for name, process in stack.processes.items()}
    return found | ({"redis": stack.server.pid} if stack.server.pid else {})


def drained(runtime: Runtime, account: str, deadline: float, *, poll: float = POLL) -> None:
    """Return when every change of the account has its outcome; raises TimeoutError when the time is over."""
    while (counts := runtime.store.counts(account))["backlog"] + counts["open"]:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{account}: {counts['backlog']} changes and {counts['open']} relations are still open"
            )
        time.sleep(poll)
