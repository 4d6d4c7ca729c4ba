"""One seed, one order: actors in threads that pass a single baton, on a clock that only the schedule moves.

At a `point` an actor lets go of the baton, and the dice say who has it next; nothing ever runs beside anything else.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

SECOND = 1_000_000  # µs
NEVER = 1 << 62  # µs


class Ended(BaseException):
    """The story is over; raised in an actor that waits for the baton. Nothing may catch it on the way."""


@dataclass(slots=True, eq=False)
class Turn:
    """Something that may happen from `at` (µs) on."""

    at: int
    go: Callable[[], None]


class Actor:
    """A thread that runs only while it has the baton; `at` is when it may have it next (µs)."""

    def __init__(self, schedule: "Schedule", name: str, run: Callable[[], None]) -> None:
        self.name, self._schedule, self._run = name, schedule, run
        self._mine, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._ended, self.error = False, None
        self._turn = schedule.at(schedule.now, self._resume)
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    error: BaseException | None

    def wait(self, until: int = NEVER) -> None:
        """Let go of the baton until then (µs), or until someone calls."""
        self._turn = self._schedule.at(until, self._resume)
        self._back.release()
        self._mine.acquire()
        if self._ended:
            raise Ended

    def call(self, at: int) -> None:
        """Wake it at `at` (µs) if it would sleep longer."""
        self._turn.at = min(self._turn.at, at)

    def end(self) -> None:
        """Make it unwind, whatever it was waiting for."""
        self._ended = True
        self._mine.release()
        self._thread.join()

    def _resume(self) -> None:
        self._schedule.current = self
        self._mine.release()
        self._back.acquire()
        self._schedule.current = None
        if self.error:
            raise self.error

    def _live(self) -> None:
        self._mine.acquire()
        try:
            if not self._ended:
                self._run()
        except Ended:
            pass
        except BaseException as error:  # belongs to whoever tells the story
            self.error = error
        self._back.release()


class Schedule:
    """Who goes next, and what time it is (µs)."""

    def __init__(self, dice: random.Random, now: int) -> None:
        self.dice, self.now = dice, now
        self.current: Actor | None = None
        self.turns = 0
        self._turns: list[Turn] = []
        self._actors: list[Actor] = []

    def at(self, when: int, go: Callable[[], None]) -> Turn:
        """Let something happen once, from then on."""
        turn = Turn(when, go)
        self._turns.append(turn)
        return turn

    def after(self, seconds: float, go: Callable[[], None]) -> Turn:
        """The same, so many seconds from now."""
        return self.at(self.now + round(seconds * SECOND), go)

    def spawn(self, name: str, run: Callable[[], None]) -> Actor:
        """An actor that begins as soon as the dice say so."""
        actor = Actor(self, name, run)
        self._actors.append(actor)
        return actor

    def run(self, done: Callable[[], bool]) -> None:
        """Hand out turns until it is done."""
        while not done():
            turn = self._next()
            self.now, self.turns = max(self.now, turn.at), self.turns + 1
            turn.go()

    def end(self) -> None:
        """End every actor."""
        for actor in self._actors:
            actor.end()

    def _next(self) -> Turn:
        """One of those whose time has come, or else the earliest."""
        ready = [turn for turn in self._turns if turn.at <= self.now]
        turn = self.dice.choice(ready) if ready else min(self._turns, key=lambda turn: turn.at)
        self._turns.remove(turn)
        return turn
