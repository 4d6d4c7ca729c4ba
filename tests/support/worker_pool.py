"""Workers at one queue of flush messages, and the sweep: what Celery does, on a world's clock."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from tests.support.flow_world import World
from worker.ports.work import MAX_COUNTDOWN
from worker.usecases.flush_context import FlushResult

SECOND = 1_000_000
SWEEP = 2 * SECOND
RESTART = SECOND  # until a dead worker has a successor
MAX_TURNS = 3_000  # more are a loop


class WorkerDied(BaseException):
    """The worker process is gone; nothing catches this on the way."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and what came of it (None: the worker died); times in µs."""

    account: str
    due: int
    begun: int
    ended: int
    result: FlushResult | None


class WorkerPool:
    """So many workers take messages in the order in which they are due.

    Each sends one for its account's next batch, behind the others.
    """

    def __init__(self, world: World, *, workers: int = 1) -> None:
        self.world, self.turns = world, list[Turn]()
        self._free, self._swept, self._sent = [world.clock.now()] * workers, world.clock.now(), 0
        self._queue: list[tuple[int, int, str]] = []
        world.intake = replace(world.intake, wake=self.wake)

    @property
    def deaths(self) -> int:
        """The number of workers that died."""
        return sum(turn.result is None for turn in self.turns)

    def wake(self, account: str, seconds: float) -> None:
        """Send a message that is due in so many seconds."""
        heappush(self._queue, (self.world.clock.now() + round(seconds * SECOND), self._sent, account))
        self._sent += 1

    def run(self, seconds: float = 86_400.0, *, until: Callable[[], bool] = lambda: False) -> None:
        """Work for so many seconds, or until something is true."""
        end = self.world.clock.now() + round(seconds * SECOND)
        while not until():
            worker = min(range(len(self._free)), key=self._free.__getitem__)
            at = max(self._free[worker], self._queue[0][0]) if self._queue else end
            if min(at, self._swept) >= end:
                break
            if self._swept <= at:
                self._sweep()
            else:
                self._work(worker, at)
        self._set_clock(max(end if not until() else 0, *self._free, self._swept - SWEEP))

    def is_done(self) -> bool:
        """Return whether nothing is open any more."""
        return not self.world.open_accounts()

    def _sweep(self) -> None:
        self._set_clock(self._swept)
        self._swept += SWEEP
        world = self.world
        credentials = {account: world.policy_of(account).fingerprint for account in world.accounts}
        for account in world.store.due_accounts(world.accounts, credentials=credentials):
            self.wake(account, 0.0)

    def _work(self, worker: int, at: int) -> None:
        assert len(self.turns) < MAX_TURNS, self.turns[-3:]
        due, _, account = heappop(self._queue)
        self._set_clock(at)
        try:
            result: FlushResult | None = self.world.flush(account)
        except WorkerDied:
            result = None
            self.world.clock.advance(RESTART / SECOND)
        self._free[worker] = self.world.clock.now()
        self.turns.append(Turn(account, due, at, self._free[worker], result))
        if result and result.next_in is not None and result.next_in <= MAX_COUNTDOWN:
            self.wake(account, result.next_in)

    def _set_clock(self, now: int) -> None:
        """Set the clock, also back: workers live side by side, but are simulated one after the other."""
        self.world.clock.advance((now - self.world.clock.now()) / SECOND)
