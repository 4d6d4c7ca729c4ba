"""One peer in a running stack: its worker and its producer as processes, beside our simulator and server."""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import ops
from ops.bench.peers.catalogue import MODULE, Peer, Variant
from ops.dev.processes import Process
from ops.dev.stack import Stack
from worker.contract import Change

ROOT: Final = Path(ops.__file__).parent.parent
START: Final = 30.0  # seconds a worker may take to do its first change
WARM: Final = Change(
    account="warm", action="create", type="estate:address:buyer", parents=(999_999,), children=(999_999,)
)


class RunningPeer:
    """A peer at work in a stack; made by `started`."""

    def __init__(self, stack: Stack, peer: Peer, variant: Variant, place: Path) -> None:
        account = next(iter(stack.credentials.values()))
        self._stack, self._peer, self._variant, self._place = stack, peer, variant, place
        self._environ = {
            "PATH": f"{place}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PEER_REDIS": stack.redis_url,
            "PEER_API": f"{stack.simulator}/api/stable/api.php",
            "PEER_TOKEN": account.token,
            "PEER_SECRET": account.secret,
            **variant.environ,
        }
        self.producer = Producer(place / "python", peer.module, self._environ, stack.directory)
        self.worker = self._launch()

    def kill_and_restart(self) -> None:
        """Kill the worker and all its processes by SIGKILL, and start another."""
        self.worker.kill()
        self.worker = self._launch()

    def warm_up(self) -> None:
        """Return when a first change has gone all the way; the simulator has forgotten it then."""
        self.producer.enqueue([WARM])
        self.worker.wait_until(lambda: self._stack.simulate("stats")["executed"] > 0, seconds=START)
        self._stack.simulate("reset", {})

    def close(self) -> None:
        """End both processes."""
        self.producer.close()
        self.worker.kill()

    def _launch(self) -> Process:
        script, *arguments = self._variant.command
        return Process(
            [str(self._place / script), *arguments],
            log=self._stack.log(self._peer.module),
            env=self._environ,
            cwd=self._stack.directory,
        )


class Producer:
    """The process that enqueues with the peer's own library."""

    def __init__(self, python: Path, module: str, environ: dict[str, str], directory: Path) -> None:
        self._log = (directory / f"{module}-producer.log").open("ab")
        self._child = subprocess.Popen(  # noqa: S603 — our own module
            [str(python), "-m", f"{MODULE}.producer", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environ,
            cwd=directory,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id, also that of its group."""
        return self._child.pid

    def enqueue(self, changes: Sequence[Change], *, job: str = "apply") -> None:
        """Enqueue one job per change, and return when the library has done so."""
        self._child.stdin.write(_line(job, changes))  # type: ignore[union-attr]
        self._child.stdin.flush()  # type: ignore[union-attr]
        if not self._child.stdout.readline():  # type: ignore[union-attr]
            raise RuntimeError(f"the producer ended; its log is {self._log.name}")

    def close(self) -> None:
        """End it, as its input ends."""
        self._child.kill()
        self._child.communicate()
        self._log.close()


@contextmanager
def started(stack: Stack, peer: Peer, variant: Variant, place: Path) -> Iterator[RunningPeer]:
    """Yield the peer when its worker has done its first change; `place` has its environment's programs."""
    with closing(RunningPeer(stack, peer, variant, place)) as running:
        running.warm_up()
        yield running


def _line(job: str, changes: Sequence[Change]) -> bytes:
    asked = {"job": job, "changes": list(map(_document, changes))}
    return json.dumps(asked, ensure_ascii=False).encode() + b"\n"


def _document(change: Change) -> dict[str, Any]:
    return {
        "action": change.action,
        "type": change.type,
        "parents": change.parents,
        "children": change.children,
        "info": dict(change.info),
    }


def progress_until(stack: Stack, done: Any, *, stall_timeout: float, deadline: float) -> float:
    """Return when the API executed its last request: on the monotonic clock, to 20 ms.

    It waits until `done(stats)`, until nothing happened for `stall_timeout` seconds, or for the deadline.
    """
    last, executed = time.monotonic(), -1
    while True:
        stats, now = stack.simulate("stats"), time.monotonic()
        if stats["executed"] != executed:
            last, executed = now, stats["executed"]
        if done(stats) or now > min(last + stall_timeout, deadline):
            return last
        time.sleep(0.02)
