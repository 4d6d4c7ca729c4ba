"""What a bench runs in: a folder that is removed afterwards, alone or with the whole system in it.

And when all that was sent there is done.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ops.dev.stack import Shape, Stack, running
from worker.wiring import Runtime


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder; it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="relations-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def temporary_stack(shape: Shape) -> Iterator[Stack]:
    """Yield a running system of this shape, with nothing in it."""
    with temporary_folder() as folder, running(folder, shape) as stack:
        yield stack


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
