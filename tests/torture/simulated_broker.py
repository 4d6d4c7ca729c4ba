"""A broker that keeps no promise: it loses, doubles and delays flush messages."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.torture.fault_profile import FaultProfile
from tests.torture.schedule import NEVER, SECOND, Actor, Schedule


@dataclass(slots=True)
class SimulatedBroker:
    """The queue of flush messages; an idle worker waits in `take`."""

    schedule: Schedule
    faults: Callable[[], FaultProfile]
    lost: int = 0
    _messages: list[tuple[int, str]] = field(default_factory=list)
    _idle: list[Actor] = field(default_factory=list)

    def put(self, account: str, seconds: float) -> None:
        """Send a message that should arrive after so many seconds; it may be lost, doubled or late."""
        rng, faults = self.schedule.rng, self.faults()
        copies = 0 if rng.random() < faults.lose else 2 if rng.random() < faults.double else 1
        self.lost += copies == 0
        for _ in range(copies):
            late = rng.random() * 20 if rng.random() < faults.delay else 0.0
            at = self.schedule.now + round((seconds + late) * SECOND)
            self._messages.append((at, account))
            for actor in self._idle:
                actor.wake(at)

    def take(self, actor: Actor) -> str:
        """Wait for a message that is due, and return its account."""
        while True:
            ready = [message for message in self._messages if message[0] <= self.schedule.now]
            if ready:
                message = self.schedule.rng.choice(ready)
                self._messages.remove(message)
                return message[1]
            self._idle.append(actor)
            actor.wait(min((at for at, _ in self._messages), default=NEVER))
            self._idle.remove(actor)
