"""The threads that a process of ours keeps beside its work: for its lease, its messages, its sign of life. They die with it."""

import atexit
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from queue import Full, Queue

from worker import log
from worker.errors import LeaseLost, Unavailable
from worker.ports import EventSink, Lease, Metrics, WorkerInfo

RENEWAL = 3.0  # seconds between renewals of a lease that lives for ten
UNSENT = 10_000  # flush messages that wait for a broker; there is one per account at most, and the sweep finds what is dropped
PARTING = 3.0  # seconds a process that ends waits for its last messages to leave
BEAT = 10.0  # seconds between two signs of life of a worker

Send = Callable[[str, float], None]


@contextmanager
def heartbeat(lease: Lease) -> Iterator[None]:
    """Renews the lease from a thread of its own, so that a long answer does not cost it."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(RENEWAL):
            try:
                lease.renew()
            except LeaseLost:
                return
            except Unavailable:
                continue  # Redis may be back before the lease ends

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class MessageSender:
    """Sends flush messages from a thread of its own, so that a slow or dead broker keeps nobody waiting.

    What fails or does not fit is said and forgotten: a message is a hint, and the sweep finds the change.
    """

    def __init__(self, send: Send, *, emit: EventSink = log.emit, most: int = UNSENT) -> None:
        self._send, self._emit = send, emit
        self._waiting: Queue[tuple[str, float]] = Queue(most)
        self._begun = threading.Lock()

    def __call__(self, account: str, seconds: float) -> None:
        """Let it be sent soon."""
        try:
            self._waiting.put_nowait((account, seconds))
        except Full as error:
            self._failed(account, error)
        if self._begun.acquire(blocking=False):
            threading.Thread(target=self._work, name="sender", daemon=True).start()
            atexit.register(self.close)

    def close(self, seconds: float = PARTING) -> None:
        """Return when everything has left, or the time is over."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, seconds)

    def _work(self) -> None:
        while True:
            account, seconds = self._waiting.get()
            try:
                self._send(account, seconds)
            except Exception as error:  # whatever the broker's client raises
                self._failed(account, error)
            self._waiting.task_done()

    def _failed(self, account: str, error: Exception) -> None:
        self._emit("wake.failed", account=account, error=type(error).__name__)


class WorkerHeartbeat:
    """Tells from a thread of its own that a worker is alive, until it ends; one that is killed is noticed by its silence."""

    def __init__(self, numbers: Callable[[], Metrics], *, every: float = BEAT) -> None:
        self._numbers, self._every = numbers, every
        self._done, self._thread = threading.Event(), threading.Thread()

    def start(self, name: str, *, concurrency: int) -> None:
        """Begin to tell."""
        numbers = self._numbers()
        host, pid, release = socket.gethostname(), os.getpid(), version("onoffice-relations")

        def beat() -> None:
            while not self._done.is_set():
                now = time.time_ns() // 1000
                with suppress(Unavailable):
                    numbers.record_heartbeat(
                        WorkerInfo(
                            name=name,
                            hostname=host,
                            pid=pid,
                            concurrency=concurrency,
                            version=release,
                            at=now,
                        )
                    )
                self._done.wait(self._every)
            with suppress(Unavailable):
                numbers.remove_worker(name)

        self._thread = threading.Thread(target=beat, name="pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(PARTING)
