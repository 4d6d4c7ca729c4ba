"""Runs a command that cannot outlive the process that asked for it: `python -IS child_guard.py PARENT LIFELINE COMMAND…`.

On Linux the kernel does the killing; elsewhere a watchdog waits for the end of the pipe LIFELINE, whose other end only the parent holds.
A program of its own, run by its path and without our packages, because doing this between fork and exec (`preexec_fn`) can deadlock
in a parent that has threads.
"""

import ctypes
import os
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1


def ask_the_kernel() -> None:
    """Have Linux send SIGKILL to this process when the thread that started it ends; it holds over exec."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def leave_a_watchdog(lifeline: int) -> None:
    """Fork a child that kills this whole process group once `lifeline` ends; the caller must lead a group of its own."""
    if os.fork():
        os.close(lifeline)
        return
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def run(parent: int, lifeline: int, command: list[str]) -> NoReturn:
    """Become `command`, tied to `parent`."""
    if sys.platform == "linux":
        os.close(lifeline)
        ask_the_kernel()
    else:
        leave_a_watchdog(lifeline)
    if os.getppid() != parent:  # it ended before the tie was made
        sys.exit("the parent process is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606 — the caller's command, no shell wanted
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
