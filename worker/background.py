"""The threads that a process runs beside its work: for its lease, requests, wake-ups, heartbeat."""

import atexit
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from queue import Empty, Full, Queue, SimpleQueue
from typing import Final

from worker import log
from worker.errors import LeaseLost, Unavailable
from worker.planner.actions import Action, Reply, Search
from worker.ports import EventSink, Wake
from worker.ports.metrics import Metrics, WorkerInfo
from worker.ports.requests import Api
from worker.ports.work import Lease

RENEWAL_INTERVAL = 3.0  # seconds between renewals of a lease that lives for ten
HEARTBEAT_INTERVAL = 10.0  # seconds
# That wait for a broker; there is one per account at most, and the sweep finds what is dropped.
MAX_WAKEUPS = 10_000
RETRY_INTERVAL = 1.0  # seconds until a wake-up that failed is tried again
EXIT_TIMEOUT = 3.0  # seconds that a process that ends waits for one of these threads


class ThreadedLeaseKeeper:
    """Renews leases until a block ends, so that a long answer does not cost them: `with keep_lease(lease):`.

    Most blocks end before a renewal is due, so a lease gets a thread of its own only when one is: another
    thread, of the whole process, looks for such leases, and ends when it finds none.
    """

    def __init__(self, interval: float = RENEWAL_INTERVAL) -> None:
        self._interval = interval
        self._reset()

    def _reset(self) -> None:
        self._renewals: list[LeaseRenewal] = []
        self._lock, self._is_looking, self._pid = threading.Lock(), False, os.getpid()

    @contextmanager
    def __call__(self, lease: Lease) -> Iterator[None]:
        """Renew the lease until the block ends."""
        if self._pid != os.getpid():  # no thread survives a fork
            self._reset()
        renewal = LeaseRenewal(lease, self._interval)
        with self._lock:
            if not self._is_looking:
                with suppress(RuntimeError):  # no room for another thread: perhaps there is next time
                    threading.Thread(target=self._look, name="leases", daemon=True).start()
                    self._is_looking = True
            self._renewals.append(renewal)
        try:
            yield
        finally:
            with self._lock:
                self._renewals.remove(renewal)
            renewal.end()

    def _look(self) -> None:
        time.sleep(self._interval)
        while self._begin_renewals():
            time.sleep(self._interval)

    def _begin_renewals(self) -> bool:
        """Begin the renewals that have not begun; return whether there are leases to look for again."""
        with self._lock:
            for renewal in self._renewals:
                with suppress(RuntimeError):  # no room for another thread: perhaps there is next time
                    renewal.begin()
            self._is_looking = bool(self._renewals)
            return self._is_looking


class LeaseRenewal:
    """Renews one lease from a thread, at once and every few seconds."""

    def __init__(self, lease: Lease, interval: float) -> None:
        self._lease, self._interval, self._done = lease, interval, threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin, unless it has begun."""
        if not self._thread:
            thread = threading.Thread(target=self._renew, name="lease", daemon=True)
            thread.start()
            self._thread = thread

    def end(self) -> None:
        """Return when no renewal is on its way."""
        self._done.set()
        if self._thread:
            self._thread.join()

    def _renew(self) -> None:
        while not self._done.is_set():
            try:
                self._lease.renew()
            except LeaseLost:
                return
            except Unavailable:
                pass  # Redis may be back before the lease ends
            self._done.wait(self._interval)


keep_lease: Final = ThreadedLeaseKeeper()
"""Renews the leases of this process."""


@contextmanager
def open_sender(api: Api, in_flight: int) -> Iterator["ThreadedSender"]:
    """Send requests from threads; at the end of the block none is on its way."""
    with ThreadPoolExecutor(in_flight, thread_name_prefix="request") as executor:
        yield ThreadedSender(api, executor)


class ThreadedSender:
    """Sends requests from the threads of an executor, and hands over the replies as they come.

    One that is alone is sent by the caller's own thread when it waits for the reply.
    """

    def __init__(self, api: Api, executor: ThreadPoolExecutor) -> None:
        self._api, self._executor = api, executor
        self._replies = SimpleQueue[tuple[str, Future[Reply]]]()
        self._alone: tuple[str, Callable[[], Reply]] | None = None

    def start(
        self, actions: Sequence[Action | Search], *, request_id: str, now: float, is_alone: bool = False
    ) -> None:
        """Send a request as soon as a thread is free."""
        send = partial(self._api.send, actions, request_id=request_id, now=now)
        if is_alone:
            self._alone = request_id, send
            return
        future = self._executor.submit(send)
        future.add_done_callback(lambda done: self._replies.put((request_id, done)))

    def next(self, timeout: float | None = None) -> tuple[str, Reply] | None:
        """Wait for any reply, so many seconds at most; return its request's id, and the reply."""
        if self._alone and timeout is None:
            (request_id, send), self._alone = self._alone, None
            return request_id, send()
        try:
            request_id, done = self._replies.get(timeout=timeout)
        except Empty:
            return None
        return request_id, done.result()


class RepeatedFailure:
    """Why something fails again and again, so that it is reported once and not at each try."""

    def __init__(self, cause: str = "") -> None:
        self.cause = cause

    def is_news(self, cause: str) -> bool:
        """Note the cause; return whether it is another one than before, or it had been over."""
        before, self.cause = self.cause, cause
        return cause != before

    def forget(self) -> None:
        """Note that it is over."""
        self.cause = ""


class WakeupQueue:
    """Sends wake-ups from a thread of its own, so that a slow or dead broker keeps nobody waiting.

    One that fails is reported and tried again until the process ends. What does not fit is reported and
    dropped: a wake-up is a hint, and the sweep finds the change.
    """

    def __init__(self, send: Wake, *, emit: EventSink = log.emit, max_size: int = MAX_WAKEUPS) -> None:
        self._send, self._emit, self._max_size = send, emit, max_size
        self._reset()

    def _reset(self) -> None:
        self._queue: Queue[tuple[str, float]] = Queue(self._max_size)
        self._started, self._closing, self._pid = threading.Lock(), threading.Event(), os.getpid()
        self._failure, self._current = RepeatedFailure(), ""

    @property
    def trouble(self) -> str:
        """Why the last wake-up failed; empty once one was sent."""
        return self._failure.cause

    def __call__(self, account: str, seconds: float) -> None:
        """Let the wake-up be sent soon."""
        if self._pid != os.getpid():  # no thread survives a fork
            self._reset()
        try:
            self._queue.put_nowait((account, seconds))
        except Full as error:
            self._emit("wake.failed", account=account, error=cause_of(error))
        if self._started.acquire(blocking=False):
            self._start(account)

    def _start(self, account: str) -> None:
        try:
            threading.Thread(target=self._work, name="wake-ups", daemon=True).start()
        except RuntimeError as error:  # no room for another thread: perhaps there is for the next wake-up
            self._started.release()
            self._emit("wake.failed", account=account, error=cause_of(error))
        else:
            atexit.register(self.close)

    def close(self, seconds: float = EXIT_TIMEOUT) -> None:
        """Return when every wake-up was sent or dropped, or report at the end of the time what is left."""
        self._closing.set()
        with self._queue.all_tasks_done:
            self._queue.all_tasks_done.wait_for(lambda: not self._queue.unfinished_tasks, seconds)
            left = self._queue.unfinished_tasks
        if left:
            error = f"the process ended before {left} of its wake-ups went out; the sweep finds their changes"
            self._emit("wake.failed", account=self._current, error=error)
        self._closing.clear()

    def _work(self) -> None:
        while True:
            account, seconds = self._queue.get()
            self._current = account
            while not self._try_to_send(account, seconds) and not self._closing.wait(RETRY_INTERVAL):
                seconds = 0.0
            self._queue.task_done()

    def _try_to_send(self, account: str, seconds: float) -> bool:
        try:
            self._send(account, seconds)
        except Exception as error:  # whatever the broker's client raises
            if self._failure.is_news(cause := cause_of(error)):
                self._emit("wake.failed", account=account, error=cause)
            return False
        self._failure.forget()
        return True


def cause_of(error: Exception) -> str:
    """Return the kind of an error and its own words, as an event shows them."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


class NamedThreads:
    """Runs what has a name in a thread of its own, and each name at most once at a time."""

    def __init__(self) -> None:
        self._threads: dict[tuple[int, str], threading.Thread] = {}

    def start(self, name: str, act: Callable[[], object]) -> bool:
        """Run the act beside everything else, unless one of that name runs; return whether it was started."""
        key = os.getpid(), name  # no thread survives a fork
        if (running := self._threads.get(key)) and running.is_alive():
            return False
        self._threads[key] = threading.Thread(target=act, name=name, daemon=True)
        self._threads[key].start()
        return True


class WorkerHeartbeat:
    """Records from a thread that a worker is alive, until it ends; a killed one is noticed by its silence."""

    def __init__(
        self, connect_metrics: Callable[[], Metrics], *, interval: float = HEARTBEAT_INTERVAL
    ) -> None:
        self._connect_metrics, self._interval = connect_metrics, interval
        self._done, self._thread = threading.Event(), threading.Thread()

    def start(self, name: str, *, concurrency: int) -> None:
        """Begin to record heartbeats of the worker of this name."""
        self._thread = threading.Thread(
            target=self._work,
            args=(self._connect_metrics(), name, concurrency),
            name="heartbeat",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """End the heartbeats, and take the worker off the list."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(EXIT_TIMEOUT)

    def _work(self, metrics: Metrics, name: str, concurrency: int) -> None:
        host, pid, release = socket.gethostname(), os.getpid(), version("onoffice-relations")
        while not self._done.is_set():
            with suppress(Unavailable):
                worker = WorkerInfo(
                    name=name,
                    hostname=host,
                    pid=pid,
                    concurrency=concurrency,
                    version=release,
                    at=metrics.now(),
                )
                metrics.record_heartbeat(worker)
            self._done.wait(self._interval)
        with suppress(Unavailable):
            metrics.remove_worker(name)
