"""A simulated process: it freezes, loses its store, and dies in the middle of a call.

Around every call to the outside the random numbers decide what happens to it, and who runs next.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.torture.fault_profile import FaultProfile
from tests.torture.schedule import SECOND, Actor, Schedule
from worker.errors import LeaseLost, StoreUnavailable, Unavailable
from worker.ports.work import Lease

RENEWAL = 3.0  # seconds between renewals of a lease
DELAYS = (0.0, 0.0, 0.0, 0.001, 0.05)  # seconds that pass around a call


class ProcessDied(BaseException):
    """The process is dead; nothing may catch this on the way."""


class SimulatedProcess:
    """What all processes of a scenario have: a clock of their own, leases to renew, and misfortune."""

    actor: Actor

    def __init__(
        self, schedule: Schedule, faults: Callable[[], FaultProfile], trace: Callable[..., None]
    ) -> None:
        self.schedule, self.faults, self.trace = schedule, faults, trace
        self.crashes, self.frozen_until = 0, 0
        self.start_clock()

    # --- its clock (ports.Clock) and the renewal of its leases

    def start_clock(self) -> None:
        """Start a clock of its own, which may be a little fast or slow."""
        rng = self.schedule.rng
        self._clock_origin = self.schedule.now - rng.randrange(1000) * SECOND
        self._clock_speed = rng.choice((1.0, 1.0, 0.98, 1.02))

    def monotonic(self) -> float:
        """Return seconds since an origin of its own."""
        return (self.schedule.now - self._clock_origin) / SECOND * self._clock_speed

    def sleep(self, seconds: float) -> None:
        """Wait, or die while waiting."""
        self._wait(seconds)
        self._die_at_random()

    @contextmanager
    def keep_lease(self, lease: Lease) -> Iterator[None]:
        """Renew the lease now and then until the block ends."""
        # The renewal runs outside of the process's actor, so it must not be interrupted.
        uninterrupted = lease.inner if isinstance(lease, InterruptiblePort) else lease
        active = True

        def renew() -> None:
            if not active:
                return
            if self.frozen_until > self.schedule.now:
                self.schedule.at(self.frozen_until, renew)
                return
            try:
                if self.random() >= self.faults().failed_renewal:
                    uninterrupted.renew()
            except LeaseLost:
                return
            self.schedule.after(RENEWAL, renew)

        self.schedule.after(RENEWAL, renew)
        try:
            yield
        finally:
            active = False

    def attempt(self, act: Callable[[], object]) -> bool:
        """Act; return whether that came to its end. A process that died of it starts again."""
        try:
            act()
        except Unavailable as error:
            self.trace("was refused", error)
            return False
        except ProcessDied:
            self.crashes += 1
            self.trace("died")
            self.start_again()
            return False
        return True

    def start_again(self) -> None:
        """Start with nothing of what the process knew."""
        self.start_clock()

    # --- interruptions

    def interrupt(self, *step: object, cuts_store: bool = False) -> None:
        """Let others run; perhaps freeze, die, or lose the connection to the store."""
        rng, faults = self.schedule.rng, self.faults()
        self.trace(*step)
        seconds = rng.choice(DELAYS)
        if rng.random() < faults.freeze:
            seconds = rng.choice((rng.uniform(5, 30), rng.uniform(5, 30), rng.uniform(100, 250)))
            self.frozen_until = self.schedule.now + round(seconds * SECOND)
            self.trace("freezes for", seconds)
        self._wait(seconds)
        self._die_at_random()
        if cuts_store and rng.random() < faults.store_cut:
            raise StoreUnavailable("the connection to the store was cut")

    def random(self) -> float:
        """Return a random number from [0, 1)."""
        return self.schedule.rng.random()

    def _wait(self, seconds: float) -> None:
        """Let others run; it is one of the process's threads that waits."""
        thread = self.schedule.current or self.actor
        thread.wait(self.schedule.now + round(seconds * SECOND))

    def _die_at_random(self) -> None:
        if self.random() < self.faults().crash:
            raise ProcessDied


class InterruptiblePort:
    """A store, lease or limiter; its process may be interrupted before and after each of its calls."""

    def __init__(self, inner: Any, name: str, process: SimulatedProcess) -> None:
        self.inner, self._name, self._process = inner, name, process

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._process.interrupt(f"{self._name}.{name}?", cuts_store=True)
            result = value(*args, **kwargs)
            self._process.interrupt(f"{self._name}.{name}", *args, "→", result, cuts_store=True)
            is_lease = name == "lease" and result is not None
            return InterruptiblePort(result, "lease", self._process) if is_lease else result

        return call
