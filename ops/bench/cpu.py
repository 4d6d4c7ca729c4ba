"""CPU seconds of processes, from Linux's /proc: where the time of a run went."""

import os
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
