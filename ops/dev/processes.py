"""Child processes that log to a file, are waited for until they are ready, never outlive us; and their ports.

For the demo, `relations dev`, benches and process tests; how a child is tied to its parent is in
`ops.dev.child_guard`.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from producers.errors import CannotStart, cannot_listen
from worker.errors import RelationsError

GUARD_SCRIPT = Path(__file__).with_name("child_guard.py")
POLL = 0.01
PORTS_FILE: Final = "ports.json"


class StartFailed(RelationsError):
    """A child process that ended, or was not ready in time; the message carries the end of its log."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on; somebody else may take it before you do."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner may read, also while it is written; one that is there goes."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def require_free_port(port: int, option: str) -> None:
    """Raise CannotStart if somebody listens on that port of 127.0.0.1; `option` says how to take another."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise cannot_listen("127.0.0.1", port, error, option=option) from error


@contextmanager
def occupy(directory: Path) -> Iterator[None]:
    """Keep a directory for this process; raise CannotStart if another process keeps it."""
    with (directory / "in-use").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = f"process {file.read().strip() or 'unknown'}"
            remedy = "end that, or take another directory with --directory"
            raise CannotStart(f"{directory.resolve()} is in use by {owner}; {remedy}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def tail(path: Path, lines: int = 20) -> str:
    """Return the last `lines` of a log."""
    with path.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 500 * lines))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run (Linux only)."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    ]


class Process:
    """A running child in a process group of its own, killed by the system when we die, even by SIGKILL.

    `env` is added to our environment; output is appended to `log`. On Linux the tie is to the *thread* that
    makes the Process, so make it in one that stays. As a context manager it is stopped at the end.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.command, self.log = tuple(command), log
        lifeline, self._lifeline = os.pipe()
        guard = (sys.executable, "-IS", str(GUARD_SCRIPT), str(os.getpid()), str(lifeline))
        try:
            with log.open("ab") as output:
                self._child = subprocess.Popen(  # noqa: S603 — the caller's command, no shell
                    (*guard, *command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **(env or {})},
                    cwd=cwd,
                    pass_fds=(lifeline,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(lifeline)

    @property
    def pid(self) -> int:
        """The process id, also that of its group."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 10.0) -> None:
        """Return once `ready()` is true; raise StartFailed if the process ends or `seconds` pass before."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise self._failure(f"ended with status {self._child.returncode}")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready after {seconds:g} s")
            time.sleep(POLL)

    def wait(self, *, seconds: float = 10.0) -> int | None:
        """Wait for the exit status (negative: the signal that ended it); None if it still runs after
        `seconds`.
        """
        with suppress(subprocess.TimeoutExpired):
            return self._child.wait(seconds)
        return None

    def stop(self, *, seconds: float = 10.0) -> int:
        """Ask it to end by SIGTERM, kill it after `seconds`, and return the exit status.

        Children it leaves behind are killed.
        """
        self._child.terminate()
        self.wait(seconds=seconds)
        return self.kill()

    def kill(self) -> int:
        """Kill it and its process group by SIGKILL, and return the exit status; repeating is harmless."""
        if self._lifeline >= 0:
            with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
                os.killpg(self.pid, signal.SIGKILL)
            os.close(self._lifeline)
            self._lifeline = -1
        return self._child.wait()

    def tail(self, lines: int = 20) -> str:
        """Return the last `lines` of its log."""
        return tail(self.log, lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _failure(self, what: str) -> StartFailed:
        return StartFailed(f"{' '.join(self.command[:4])} {what}; the end of {self.log}:\n{self.tail()}")


class KeptPorts:
    """The ports of a directory's stack by name: the same at every start, so that what was told stays true."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / PORTS_FILE
        self._ports: dict[str, int] = {}
        with suppress(OSError, ValueError):
            self._ports = {
                name: int(port) for name, port in json.loads(self._path.read_text("utf-8")).items()
            }

    def choose(self, name: str, wanted: int, *, echo: Callable[[str], None]) -> int:
        """Return the wanted port; for 0 the one of the last start, or if that is taken any free one."""
        port, last = wanted, self._ports.get(name, 0)
        if not port:
            port = last if last and is_free(last) else free_port()
            if last and port != last:
                echo(f"Port {last} of the last start is taken: {name} has {port} now")
        self._ports[name] = port
        self._path.write_text(json.dumps(self._ports), "utf-8")
        return port


def is_free(port: int) -> bool:
    """Return whether nobody listens on this port of 127.0.0.1."""
    with suppress(OSError):
        socket.create_server(("127.0.0.1", port)).close()
        return True
    return False
