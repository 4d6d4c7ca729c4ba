"""Workers at one queue of flush messages, and the sweep: what Celery does, by a world's clock and one step after the other."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from tests.support.flow_world import World
from worker.ports import MAX_COUNTDOWN
from worker.usecases.flush_context import FlushResult

SECOND = 1_000_000
SWEEP = 2 * SECOND
REST = SECOND  # until a dead worker has a successor
MOST = 3_000  # turns; more are a loop


class Died(BaseException):
    """The worker is gone; nothing catches this on the way."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and what came of it (None: the worker died); times in µs."""

    account: str
    asked: int
    begun: int
    ended: int
    flushed: FlushResult | None


class Shift:
    """`workers` take messages in the order in which they are due; each sends one for its account's next batch, behind the others."""

    def __init__(self, world: World, *, workers: int = 1) -> None:
        self.world, self.turns = world, list[Turn]()
        self._free, self._swept, self._sent = [world.clock.now()] * workers, world.clock.now(), 0
        self._queue: list[tuple[int, int, str]] = []
        world.intake = replace(world.intake, wake=self.wake)

    @property
    def deaths(self) -> int:
        """Workers that died."""
        return sum(turn.flushed is None for turn in self.turns)

    def wake(self, account: str, seconds: float) -> None:
        """A message that is due in so many seconds."""
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
        self._at(max(end if not until() else 0, *self._free, self._swept - SWEEP))

    def done(self) -> bool:
        """Nothing is open any more."""
        return not self.world.open_accounts()

    def _sweep(self) -> None:
        self._at(self._swept)
        self._swept += SWEEP
        world = self.world
        for account in world.store.due_accounts(
            world.accounts, credentials={name: world.lane_of(name).fingerprint for name in world.accounts}
        ):
            self.wake(account, 0.0)

    def _work(self, worker: int, at: int) -> None:
        assert len(self.turns) < MOST, self.turns[-3:]
        asked, _, account = heappop(self._queue)
        self._at(at)
        try:
            flushed: FlushResult | None = self.world.flush(account)
        except Died:
            flushed = None
            self.world.clock.sleep(REST / SECOND)
        self._free[worker] = self.world.clock.now()
        self.turns.append(Turn(account, asked, at, self._free[worker], flushed))
        if flushed and flushed.next_in is not None and flushed.next_in <= MAX_COUNTDOWN:
            self.wake(account, flushed.next_in)

    def _at(self, now: int) -> None:
        """Workers live side by side, but are told one after the other: so the clock goes back to where the next one stands."""
        self.world.clock.sleep((now - self.world.clock.now()) / SECOND)
