"""CPU seconds and memory of processes, from Linux's /proc: where the time of a run went, and what it took."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
GROUP, USER, SYSTEM = 2, 11, 12  # places in /proc/<pid>/stat after the name


def seconds(pid: int) -> float:
    """Return user and system time of all processes alive in the group of `pid`; 0 where there is no /proc."""
    rows = (row for _, row in read_stats() if int(row[GROUP]) == pid)
    return sum(int(row[USER]) + int(row[SYSTEM]) for row in rows) / TICKS


def group(pid: int) -> list[int]:
    """Return the processes alive in the group of `pid`."""
    return [process for process, row in read_stats() if int(row[GROUP]) == pid]


@contextmanager
def measured(pids: Mapping[str, int]) -> Iterator[Callable[[], dict[str, float]]]:
    """Yield a function that returns the CPU seconds of each group since the beginning.

    This process counts as `producer`.
    """
    before = {name: seconds(pid) for name, pid in pids.items()}
    mine = sum(os.times()[:2])
    yield lambda: {
        "producer": round(sum(os.times()[:2]) - mine, 2),
        **{name: round(seconds(pid) - before[name], 2) for name, pid in pids.items()},
    }


def read_stats() -> Iterator[tuple[int, list[str]]]:
    """Yield each process and the fields of its /proc/<pid>/stat after the name."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield int(path.parent.name), path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile


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
