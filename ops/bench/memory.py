"""The memory of groups of processes over time, from Linux's /proc: shared pages count in parts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ops.bench.cpu import group

EVERY: Final = 0.25  # seconds between two looks
KIB: Final = 1024


class Peak:
    """The most bytes that were seen."""

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Yield the peak of a process group, which is watched meanwhile; it stays 0 where there is no /proc."""
    peak, ended = Peak(), threading.Event()

    def look() -> None:
        peak.bytes = max(peak.bytes, proportional(pid))

    def watch() -> None:
        while not ended.wait(EVERY):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        look()


def proportional(pid: int) -> int:
    """Return the bytes of a process group (PSS), each shared page divided among those that share it."""
    return sum(map(_pss, group(pid)))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it ended meanwhile
    return next((KIB * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
