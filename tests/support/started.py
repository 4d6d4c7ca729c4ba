"""Start a `relations dev` as a process of its own, read what it prints until it is ready, and end it."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import HANGS_AFTER

READY = "Ctrl-C stops everything."
WITH_SIGINT_IGNORED = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Put before a command, it starts that as a script starts what it runs in the background."""

Process = subprocess.Popen[str]


@contextmanager
def started(command: Sequence[str], cwd: Path | None = None) -> Iterator[tuple[Process, str]]:
    """Yield the process and all it printed until it was ready; kill one that hangs."""
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(HANGS_AFTER, process.kill)
        watchdog.start()
        try:
            yield process, "".join(iter(lambda: line_of(process), READY + "\n"))
        finally:
            watchdog.cancel()
            process.kill()


def line_of(process: Process) -> str:
    """Return the next line it prints; fail with its errors if it prints no more."""
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return line
