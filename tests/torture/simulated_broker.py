"""A broker that keeps no promise: flush messages get lost, come twice, and come late."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.torture.fault_profile import Chaos
from tests.torture.schedule import NEVER, SECOND, Actor, Schedule


@dataclass(slots=True)
class Broker:
    """The queue of flush messages; an idle worker waits in `take`."""

    schedule: Schedule
    chaos: Callable[[], Chaos]
    lost: int = 0
    _messages: list[tuple[int, str]] = field(default_factory=list)
    _idle: list[Actor] = field(default_factory=list)

    def put(self, account: str, seconds: float) -> None:
        """Send a message that is to come in so many seconds; what becomes of it is another matter."""
        dice, chaos = self.schedule.dice, self.chaos()
        copies = 0 if dice.random() < chaos.lose else 2 if dice.random() < chaos.double else 1
        self.lost += copies == 0
        for _ in range(copies):
            late = dice.random() * 20 if dice.random() < chaos.delay else 0.0
            at = self.schedule.now + round((seconds + late) * SECOND)
            self._messages.append((at, account))
            for actor in self._idle:
                actor.call(at)

    def take(self, actor: Actor) -> str:
        """The account of a message whose time has come."""
        while True:
            ready = [message for message in self._messages if message[0] <= self.schedule.now]
            if ready:
                message = self.schedule.dice.choice(ready)
                self._messages.remove(message)
                return message[1]
            self._idle.append(actor)
            actor.wait(min((at for at, _ in self._messages), default=NEVER))
            self._idle.remove(actor)
